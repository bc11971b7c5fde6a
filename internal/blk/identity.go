package blk

import (
	"path"
	"slices"
	"strings"
)

// drivers are the kinds that a kernel name alone tells, each followed by a number.
var drivers = []struct{ prefix, kind string }{
	{"loop", "loop"}, {"dm-", "dm"}, {"md", "md"}, {"sr", "rom"}, {"zram", "zram"}, {"ram", "ram"}, {"nbd", "nbd"},
	{"rbd", "rbd"}, {"drbd", "drbd"}, {"bcache", "bcache"}, {"fd", "floppy"}, {"ublkb", "ublk"}, {"zd", "zvol"},
}

// kind says what drives a disk. The names of md arrays may be words: those have a folder md.
func kind(d dir, name string) string {
	for _, driver := range drivers {
		if rest, ok := strings.CutPrefix(name, driver.prefix); ok && rest != "" && isDigit(rest[0]) {
			return driver.kind
		}
	}
	if strings.HasPrefix(name, "md") {
		if md, ok := d.sub("md"); ok {
			md.close()
			return "md"
		}
	}
	return "disk"
}

// scsiTypes names the peripheral device types of SCSI, as lsblk does.
var scsiTypes = map[int64]string{
	0: "disk", 1: "tape", 2: "printer", 3: "processor", 4: "worm", 5: "rom", 6: "scanner", 7: "mo-disk",
	8: "changer", 9: "comm", 12: "raid", 13: "enclosure", 14: "rbc", 17: "osd", 127: "no-lun",
}

func scsiType(t Fact[int64]) string {
	if !t.Known {
		return ""
	}
	return scsiTypes[t.Value]
}

// identify finds out which device a disk is: from udev's record where there is one, since udev asks
// the device itself (sysfs cuts the model of an ATA disk at 16 bytes), else from sysfs.
func (s *Sysfs) identify(d dir, k *Disk, hasDevice bool) {
	link := d.devicePath(fileName(k.Name), s.block)
	k.Subsystems = s.subsystems(d, link)
	k.Hotplug = k.Removable || hotplugged(k.Subsystems)
	k.Transport = s.transport(k, link)
	if hasDevice {
		k.HCTL = hctl(link)
		k.Vendor = d.text("device/vendor")
		k.Revision = orElse(d.text("device/rev"), d.text("device/firmware_rev"))
		k.Model = orElse(d.text("device/model"), mmcName(d, k.Name))
		k.Serial = serial(d)
		k.WWN = wwn(orElse(d.text("wwid"), d.text("device/wwid")))
	}
	if record := s.udev.record(k.Number); record != nil && len(k.Slaves) == 0 {
		k.Model = orElse(record.model(), k.Model)
		k.Serial = orElse(record.serial(), k.Serial)
		k.WWN = orElse(record.wwn(), k.WWN)
	}
}

// devicePath is where the link in /sys/block leads: ../devices/pci0000:00/…/block/vda.
func (d dir) devicePath(file string, block int) string {
	return dir{block, d.buf}.link(file)
}

// serial is what the driver tells of a serial number: virtio has it beside the queue, NVMe and MMC in
// the device's folder, SCSI as vital product data, page 80h, behind a header of four bytes.
func serial(d dir) string {
	if s := d.text("serial"); s != "" {
		return s
	}
	if s := d.text("device/serial"); s != "" {
		return s
	}
	page, ok := d.read("device/vpd_pg80")
	if !ok || len(page) < 4 {
		return ""
	}
	size := int(page[2])<<8 | int(page[3])
	text := page[4:]
	return printable(text[:min(size, len(text))])
}

// printable drops what pads a fixed field: blanks and zero bytes. A field that holds other bytes than
// printable ASCII is no text.
func printable(field []byte) string {
	s := strings.Trim(string(field), " \x00")
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return ""
		}
	}
	return s
}

// wwn brings the kernel's wwid into udev's form: naa.5000… becomes 0x5000…; eui., nvme. and uuid. stay.
// What starts with t10. is model and serial, not a world-wide name.
func wwn(wwid string) string {
	if digits, ok := strings.CutPrefix(wwid, "naa."); ok {
		return "0x" + digits
	}
	if strings.HasPrefix(wwid, "t10.") {
		return ""
	}
	return wwid
}

// mmcName is the product name of an SD card or an eMMC.
func mmcName(d dir, name string) string {
	if !strings.HasPrefix(name, "mmcblk") {
		return ""
	}
	return d.text("device/name")
}

// subsystems walks from the disk's own folder up to the root of /sys/devices and collects what each
// belongs to; neighbours that are the same count once. Disks beside each other share all but the first.
func (s *Sysfs) subsystems(d dir, link string) string {
	own := d.base("subsystem")
	above := s.chain(d, path.Dir(link))
	if own == "" {
		return above
	}
	return joinChain(own, above)
}

func (s *Sysfs) chain(d dir, folder string) string {
	if !strings.HasPrefix(folder, "../devices/") {
		return ""
	}
	if chain, ok := s.chains.Load(folder); ok {
		return chain.(string)
	}
	own := dir{s.block, d.buf}.base(folder + "/subsystem")
	chain := s.chain(d, path.Dir(folder))
	if own != "" {
		chain = joinChain(own, chain)
	}
	s.chains.Store(folder, chain)
	return chain
}

func joinChain(own, above string) string {
	switch {
	case above == "":
		return own
	case above == own, strings.HasPrefix(above, own+":"):
		return above
	}
	return own + ":" + above
}

// hotplugged tells whether a device hangs on a bus whose devices come and go.
func hotplugged(subsystems string) bool {
	for subsystem := range strings.SplitSeq(subsystems, ":") {
		if slices.Contains([]string{"usb", "ieee1394", "pcmcia", "mmc", "ccw"}, subsystem) {
			return true
		}
	}
	return false
}

// hctl is the SCSI address in the path of a SCSI device: …/target0:0:0/0:0:0:0/block/sda.
func hctl(link string) string {
	parts := strings.Split(link, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "target") && i+1 < len(parts) && strings.Count(parts[i+1], ":") == 3 {
			return parts[i+1]
		}
	}
	return ""
}

// transport says how a disk is attached, by the path of its device as lsblk does it.
func (s *Sysfs) transport(k *Disk, link string) string {
	switch {
	case strings.HasPrefix(k.Name, "nvme"):
		return "nvme"
	case strings.HasPrefix(k.Name, "vd"):
		return "virtio"
	case strings.HasPrefix(k.Name, "mmcblk"):
		return "mmc"
	case strings.HasPrefix(k.Name, "xvd"):
		return "xen"
	case k.Kind == "loop":
		return "loop"
	}
	if host := scsiHost(link); host != "" {
		return s.scsiTransport(host, link)
	}
	return ""
}

// scsiHost is the part of a device path that names the SCSI host adapter: host0.
func scsiHost(link string) string {
	for part := range strings.SplitSeq(link, "/") {
		if rest, ok := strings.CutPrefix(part, "host"); ok && rest != "" && digits(rest) == len(rest) {
			return part
		}
	}
	return ""
}

// scsiTransport follows lsblk: the class in which the host adapter shows itself, else the bus in the
// path, else the driver's name.
func (s *Sysfs) scsiTransport(host, link string) string {
	buf := s.buffers.Get().(*[attrSize]byte)
	defer s.buffers.Put(buf)
	sys := dir{s.sys, buf}
	is := func(class string) bool { return sys.link("class/"+class+"_host/"+host) != "" }
	switch {
	case is("spi"):
		return "spi"
	case is("fc"):
		if strings.HasPrefix(strings.ToLower(sys.text("class/fc_host/"+host+"/symbolic_name")), "fcoe") {
			return "fcoe"
		}
		return "fc"
	case is("sas"), strings.Contains(link, "/end_device-"):
		return "sas"
	case is("iscsi"), strings.Contains(link, "/session"):
		return "iscsi"
	case strings.Contains(link, "/usb"):
		return "usb"
	}
	return ataTransport(sys.text("class/scsi_host/" + host + "/proc_name"))
}

// ataTransport goes by the name of the host adapter's driver: ahci and sata_… speak SATA, pata_… and
// ata_piix ATA; others, such as virtio_scsi, are plain SCSI.
func ataTransport(driver string) string {
	switch {
	case driver == "":
		return ""
	case strings.HasPrefix(driver, "ahci"), strings.HasPrefix(driver, "sata"):
		return "sata"
	case strings.Contains(driver, "ata"):
		return "ata"
	}
	return "scsi"
}
