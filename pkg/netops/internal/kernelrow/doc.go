// Package kernelrow turns objects of the kernel, as the libraries that speak to it give them (links, addresses, routes,
// neighbours, VLANs of bridges, tracked connections), into the rows that the table has for them.
//
// What a row tells that does not stand in its object (the names of other interfaces, addresses, what a driver says) is
// read as it is needed, by a socket that the caller gives. The package opens none, changes nothing, and knows nothing of what
// is registered: whether an object is ours the caller adds.
package kernelrow
