package ct

// Subsystem-local message types (enum cntl_msg_types, ctnl_exp_msg_types).
const (
	msgNew         = 0 // IPCTNL_MSG_CT_NEW: what a dump answers
	msgGet         = 1
	msgGetStatsCPU = 4
	msgGetStats    = 5

	msgExpNew         = 0
	msgExpGet         = 1
	msgExpGetStatsCPU = 3
)

// Attributes of an entry (enum ctattr_type), for [Entry.Has]. What the kernel never puts into a dump
// (CTA_NAT_SRC and DST, the masks) is not among them.
const (
	AttrTupleOrig     = 1
	AttrTupleReply    = 2
	AttrStatus        = 3
	AttrProtoInfo     = 4
	AttrHelp          = 5
	AttrTimeout       = 7
	AttrMark          = 8
	AttrCountersOrig  = 9
	AttrCountersReply = 10
	AttrUse           = 11
	AttrID            = 12
	AttrTupleMaster   = 14
	AttrSeqAdjOrig    = 15
	AttrSeqAdjReply   = 16
	AttrZone          = 18
	AttrSecCtx        = 19
	AttrTimestamp     = 20
	AttrLabels        = 22
	AttrSynproxy      = 24
)

// Attributes of requests only.
const (
	attrMarkMask   = 21
	attrFilter     = 25
	attrStatusMask = 26

	attrFilterOrigFlags = 1 // CTA_FILTER_ORIG_FLAGS
)

// Bits of CTA_FILTER_ORIG_FLAGS: which parts of the tuple in the request are compared.
const (
	filterSrc   = 1 << 0
	filterDst   = 1 << 1
	filterProto = 1 << 3
)

// enum ctattr_tuple, ctattr_ip and ctattr_l4proto.
const (
	tupleIP    = 1
	tupleProto = 2
	tupleZone  = 3

	ipV4Src = 1
	ipV4Dst = 2
	ipV6Src = 3
	ipV6Dst = 4

	protoNum        = 1
	protoSrcPort    = 2
	protoDstPort    = 3
	protoICMPID     = 4
	protoICMPType   = 5
	protoICMPCode   = 6
	protoICMPv6ID   = 7
	protoICMPv6Type = 8
	protoICMPv6Code = 9
)

// enum ctattr_protoinfo and what it nests.
const (
	infoTCP  = 1
	infoDCCP = 2
	infoSCTP = 3

	tcpState       = 1
	tcpWScaleOrig  = 2
	tcpWScaleReply = 3
	tcpFlagsOrig   = 4
	tcpFlagsReply  = 5

	dccpState        = 1
	dccpRole         = 2
	dccpHandshakeSeq = 3

	sctpState     = 1
	sctpVTagOrig  = 2
	sctpVTagReply = 3
)

// enum ctattr_counters, ctattr_tstamp, ctattr_seqadj, ctattr_synproxy, ctattr_help, ctattr_secctx.
const (
	countersPackets   = 1
	countersBytes     = 2
	counters32Packets = 3
	counters32Bytes   = 4

	timestampStart = 1
	timestampStop  = 2

	seqAdjPosition = 1
	seqAdjBefore   = 2
	seqAdjAfter    = 3

	synproxyISN   = 1
	synproxyITS   = 2
	synproxyTSOff = 3

	helpName   = 1
	secCtxName = 1
)
