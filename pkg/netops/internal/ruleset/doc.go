// Package ruleset tells what nf_tables has (tables, chains, flowtables, objects, sets with their elements, rules), item by
// item as net.firewall answers it. A Dump sends all of it; expressions of every kind that the kernel has are decoded into
// their members of the table, and what is not known stands as it came.
//
// It changes nothing, knows nothing of what is registered, and reads no file and no text of a tool.
package ruleset
