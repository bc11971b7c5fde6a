// Rewrites what rpc.discover answers into what @open-rpc/generator can make a TypeScript client of:
//
//	node rewrite.mjs openrpc.json names.json <discover.json
//
// openrpc.json is the rewritten document, names.json what each method is called on the wire.
//
// - A method becomes a member of a class: the dots of its name become underscores. names.json leads back, and the
//   transport (src/connect.ts) follows it.
// - A param becomes a parameter of a function: one that is called like a reserved word gets an underscore behind
//   it. Params then go by position, which the server takes as well, so that their names never leave the program.
// - A type that would be called as the type of a method gets Object behind its name.
// - rpc.discover's own result is a schema somewhere on the network, which is not to be fetched: any object will do.
// - Descriptions become comments, so that nothing in them may end one.
// - Formats are of the table's own, of which a generated client's checks know nothing: they go, patterns stay.
import { readFileSync, writeFileSync } from "node:fs";

// What cannot be the name of a parameter in strict code (ECMA-262, 12.7.2).
const reserved = new Set(
  ("arguments await break case catch class const continue debugger default delete do else enum eval export extends " +
    "false finally for function if implements import in instanceof interface let new null package private protected " +
    "public return static super switch this throw true try typeof var void while with yield").split(" "),
);

function rewritten(key, value) {
  if (typeof value !== "string") return value; // a property that is called so
  if (key === "description" || key === "summary") return value.replaceAll("*/", "* /");
  return key === "format" ? undefined : value;
}
const typeName = (method) => method.split(/[._]/).map((word) => word[0].toUpperCase() + word.slice(1)).join("");

const document = JSON.parse(readFileSync(0, "utf8"), rewritten);
const names = {};
const typeNames = new Set();
for (const method of document.methods) {
  const name = method.name.replaceAll(".", "_");
  if (name in names) throw new Error(`${method.name} and ${names[name]} would both be called ${name}`);
  names[name] = method.name;
  typeNames.add(typeName(method.name).toLowerCase());
  if (method.name === "rpc.discover") method.result.schema = { title: "Discovered", type: "object" };
  method.name = name;
  method.paramStructure = "by-position";
  for (const param of method.params) if (reserved.has(param.name)) param.name += "_";
}
for (const schema of Object.values(document.components.schemas)) {
  if (schema.title && typeNames.has(schema.title.toLowerCase())) schema.title += "Object";
}
const [, , documentFile, namesFile] = process.argv;
writeFileSync(documentFile, JSON.stringify(document, null, 2));
writeFileSync(namesFile, JSON.stringify(names, null, 2));
