// Package api carries the specification of my_os_server: the OpenRPC document from which the method
// table, the clients and the documentation are made. It holds the document and nothing else.
package api

import _ "embed"

// Document is openrpc.json as it stands in the source. It must not be changed.
//
//go:embed openrpc.json
var Document []byte
