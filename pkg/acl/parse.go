package acl

// Parse reads an ACL file. methods are all methods that there are; globs are checked against them and
// resolved. file is the name that errors give. Every error is a *ParseError: the first fault in the file,
// where what cannot be read at all comes before what contradicts itself.
func Parse(file string, data []byte, methods []Method) (*Policy, error) {
	document, fault := readDocument(data)
	if fault != nil {
		return nil, faults{*fault}.first(file)
	}
	s, wrong := readSource(document)
	if err := wrong.first(file); err != nil {
		return nil, err
	}
	c := newCompiler(s, methods)
	c.compile()
	if err := c.first(file); err != nil {
		return nil, err
	}
	return c.policy, nil
}
