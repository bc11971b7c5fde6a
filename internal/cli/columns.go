package cli

import "strings"

// column is one column of a table: where in a row its cell comes from, and what stands above it.
type column struct {
	heading string
	path    []string
	least   int // how narrow it may be made before columns behind it are left out
}

// columnsOf are the columns of the rows that people look at most, what matters first: where a terminal is too
// narrow the last ones go. Rows that are not here show the members that they have. A name is a member, with
// dots for members within; HEADING= before it says what stands above, +
// behind it that it is a text, which says too little in a few cells.
var columnsOf = map[string]string{
	"Interface":         "name kind UP=admin_up STATE=oper_state addresses=addresses.address master mac mtu vlan_id speed_bps managed",
	"Route":             "dst gateway interface metric table protocol scope type SOURCE=preferred_source VIA=nexthops.gateway managed tag",
	"Neighbor":          "address interface mac state protocol flags managed",
	"Bridge":            "name backend STATE=oper_state addresses=addresses.address PORTS=ports.interface mac mtu vlan_filtering stp managed tag",
	"VmTap":             "name vm_id nic bridge mac mtu up carrier pvid vlans managed tag",
	"VlanInterface":     "interface vlan_id parent protocol admin_up managed",
	"VlanBridge":        "bridge backend filtering pvid vlans PORTS=ports.interface",
	"InterfaceLease":    "interface manager IPV4=dhcp4.address STATE=dhcp4.state SERVER=dhcp4.server EXPIRES=dhcp4.expires_at SLAAC=slaac.address",
	"DelegatedPrefix":   "prefix interface state valid_s preferred_s server",
	"InterfaceConfig":   "interface manager ipv4_method ipv6_method addresses gateways dns exists",
	"HealthCheck":       "name status message",
	"Drift":             "resource id kind expected actual cause",
	"DnsInterface":      "interface NAMESERVERS=nameservers.address search default_route dnssec",
	"NodeAddress":       "interface address scope",
	"UnavailableMethod": "method kind reason missing",
	"SysctlInterface":   "interface FORWARDING=ipv4.forwarding FORWARDING6=ipv6.forwarding PROXY_ARP=ipv4.proxy_arp PROXY_NDP=ipv6.proxy_ndp RP_FILTER=ipv4.rp_filter ACCEPT_RA=ipv6.accept_ra",
	"NftItem":           "* family table chain name text+ set hook priority policy handle protocol port managed",
	"ConntrackEntry":    "protocol state SOURCE=original.source SPORT=original.source_port DESTINATION=original.destination DPORT=original.destination_port TO=reply.source TPORT=reply.source_port timeout_s zone mark status",
	"OvsConntrackEntry": "protocol state SOURCE=original.source DESTINATION=original.destination timeout_s zone mark datapath",
	"NatDnat":           "id protocol destination port to_address to_port interface source packets bytes exists tag",
	"NatSnat":           "id source out_interface to_address masquerade packets bytes exists tag",
	"NatForwarding":     "interface ipv4 ipv6 accept_ra managed needed_by",
	"OvsBridge":         "name datapath_type fail_mode protocols PORTS=ports.name managed",
	"OvsFlow":           "bridge table priority packets bytes match_text+ actions_text+",
	"DatapathItem":      "* datapath packets bytes match_text actions_text hits misses lost flows",
	"Disk":              "path size_bytes type model serial transport rotational TABLE=partition_table.type SIGNATURE=signature.type in_use mount_points",
	"Partition":         "path size_bytes type_name label FSTYPE=filesystem.type FSLABEL=filesystem.label in_use mount_points uuid",
	"Filesystem":        "DEVICES=devices.path type label size_bytes used_bytes available_bytes mounted mount_points uuid",
	"Mount":             "target source fstype TOTAL=usage.total_bytes USED=usage.used_bytes AVAILABLE=usage.available_bytes read_only options managed",
	"Subvolume":         "id path fs_path generation read_only REFERENCED=quota.referenced_bytes EXCLUSIVE=quota.exclusive_bytes MAX=quota.max_referenced_bytes uuid",
	"MdArray":           "name path level array_state size_bytes raid_disks degraded MEMBERS=members.path managed",
	"InventoryDisk":     "PATH=disk.path SIZE=disk.size_bytes TYPE=disk.type MODEL=disk.model SERIAL=disk.serial PARTITIONS=partitions.partition.path MOUNTED=mounts.target",
	"InventoryBtrfs":    "LABEL=filesystem.label DEVICES=filesystem.devices.path SIZE=filesystem.size_bytes USED=filesystem.used_bytes MOUNTED=mounts.target UUID=filesystem.uuid",
	"SwapArea":          "path type size_bytes used_bytes priority label",
	"VolProblem":        "severity kind resource id message",
	"Topology":          "template feasible usable_bytes failures_survived disks OBSTACLES=obstacles.message",
	"EligibleDisk":      "path size_bytes rotational",
	"IneligibleDisk":    "path reason message",
	"BtrfsChunkUsage":   "type profile total_bytes used_bytes percent",
	"Context":           "name current server node groups",
	"BtrfsDeviceUsage":  "devid path size_bytes allocated_bytes unallocated_bytes missing",
}

// inOne says that a row has one member only, which tells what it is and holds the rest.
const inOne = "*"

// columnsFor are the columns of a kind of row. They are taken apart when they are wanted, since no run of the program
// shows more than a few kinds.
func columnsFor(row string) []column {
	words := strings.Fields(columnsOf[row])
	columns := make([]column, 0, len(words))
	for _, word := range words {
		columns = append(columns, parseColumn(word))
	}
	return columns
}

func parseColumn(word string) column {
	word, isText := strings.CutSuffix(word, "+")
	above, path, named := strings.Cut(word, "=")
	if !named {
		path, above = word, heading(word)
	}
	if word == inOne {
		above = "KIND"
	}
	c := column{strings.ToUpper(above), strings.Split(path, "."), narrowest}
	if isText {
		c.least = textLeast
	}
	return c
}
