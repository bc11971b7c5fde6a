package netops

// forwardingNeed is what an entry needs of the kernel's settings.
type forwardingNeed struct {
	settings []forwardingSpec // to be changed for it
}
