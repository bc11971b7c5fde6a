package registry

import "fmt"

// WireError is an error that has a code and data of its own in the table. All of them are generated from
// the specification but ParamsError.
type WireError interface {
	error
	RPCCode() int               // the JSON-RPC error code
	ErrorKind() string          // data.kind
	AppendData(b []byte) []byte // appends data as a JSON object
}

var _ WireError = (*ParamsError)(nil)

// ParamsError is -32602: what was asked does not fit the method's params. It has every fault of the
// call. Method.Decode returns it for what the specification says of each param; a handler does for rules
// between params.
type ParamsError struct {
	Faults []Fault
}

// Fault is one fault of a call's params. Path is the param's name, then members and positions, as in
// nexthops[1].gateway, and empty for the params as a whole; Message is the rule that was broken.
type Fault = ParamFault

// Error is the first fault, and how many more there are.
func (e *ParamsError) Error() string {
	switch len(e.Faults) {
	case 0:
		return messageInvalidParams
	case 1:
		return messageInvalidParams + ": " + e.Faults[0].text()
	}
	return fmt.Sprintf("%s: %s (and %d more)", messageInvalidParams, e.Faults[0].text(), len(e.Faults)-1)
}

// text is the fault as one sentence.
func (f *ParamFault) text() string {
	if f.Path == "" {
		return f.Message
	}
	return f.Path + " " + f.Message
}

// RPCCode is CodeInvalidParams.
func (e *ParamsError) RPCCode() int { return CodeInvalidParams }

// ErrorKind is KindInvalidParams.
func (e *ParamsError) ErrorKind() string { return KindInvalidParams }

// AppendData appends the kind and all faults.
func (e *ParamsError) AppendData(b []byte) []byte {
	data := InvalidParamsData{Errors: e.Faults}
	return data.AppendJSON(b)
}

// messageOr is the message of an error: what its maker had to say, or else what the specification says.
func messageOr(message, otherwise string) string {
	if message != "" {
		return message
	}
	return otherwise
}

// notBuilt is the answer of a method that this release does not have yet.
func notBuilt(method string) error {
	return &UnsupportedError{
		UnsupportedData: UnsupportedData{Reason: UnsupportedReasonNotBuiltYet, Missing: Some(method)},
		Message:         method + " is not built yet; a later release brings it",
	}
}
