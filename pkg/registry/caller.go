package registry

import "context"

// Caller is who a call is made for, as far as a handler may know it: enough to put a name into a record
// and to be stricter with some than with others, too little to decide who may call. That has been
// decided before the handler runs.
type Caller struct {
	Name  string // uid:1000, a public key in hex, token:ci or anonymous
	Right Right  // what the caller holds for the method that is called: the method's own right or more
}

type callerKey struct{}

// WithCaller returns a context that carries c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom is the Caller that ctx carries. Without one it is nobody, who holds nothing.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
