package inuse

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// exports are the drivers that hand a block device out to another machine and open it as a file: no process has a
// descriptor of it, nothing claims it, and it stands in no holders folder. Their configuration in configfs tells.
var exports = []struct {
	name    string // for people
	pattern string // of the file that names the device, below /sys/kernel/config
	device  *regexp.Regexp
	enabled string // file beside it that is 0 where the device is not open; empty: there is none
}{
	// drivers/nvme/target/configfs.c
	{"nvmet", "nvmet/subsystems/*/namespaces/*/device_path", regexp.MustCompile(`^(/.+)$`), "enable"},
	// drivers/target/target_core_file.c: "TCM FILEIO ID: 0        File: /dev/sdb  Size: …"
	{"target", "target/core/fileio_*/*/info", regexp.MustCompile(`(?m)\bFile: (\S+)`), "enable"},
	// drivers/usb/gadget/function/f_mass_storage.c
	{"usb_gadget", "usb_gadget/*/functions/mass_storage.*/lun.*/file", regexp.MustCompile(`^(/.+)$`), ""},
}

// findExports takes the devices that such a driver has open. Where no configfs is mounted none of them was set up.
func (f *finder) findExports(context.Context) error {
	config := f.root + "/sys/kernel/config/"
	for _, e := range exports {
		files, err := filepath.Glob(config + e.pattern)
		if err != nil {
			return err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				continue // taken down meanwhile
			}
			m := e.device.FindStringSubmatch(strings.TrimSuffix(string(text), "\n"))
			if m == nil || e.enabled != "" && isOff(filepath.Join(filepath.Dir(file), e.enabled)) {
				continue
			}
			if n, ok := f.backing(m[1]); ok && f.asked[n] {
				f.add(Kernel, e.name+" "+strings.TrimPrefix(filepath.Dir(file), config), 0)
			}
		}
	}
	return nil
}

// isOff tells whether a switch is there and off.
func isOff(file string) bool {
	text, err := os.ReadFile(file)
	return err == nil && strings.TrimSpace(string(text)) == "0"
}
