package device

import (
	_ "embed"
	"strings"
	"sync"
)

//go:generate sh -c "go run ../../tests/tools/vendors > vendors.txt"

// vendorsText has one line for each maker of devices that send mail, with the prefixes of
// its MAC addresses (OUI, IEEE 802).
//
//go:embed vendors.txt
var vendorsText string

var vendors = sync.OnceValue(func() map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(vendorsText) {
		name, prefixes, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for prefix := range strings.FieldsSeq(prefixes) {
			all[prefix] = name
		}
	}
	return all
})

// Vendor returns the maker of a device with a MAC address, in lower case with colons;
// empty if it is not one that is known to make devices that send mail.
func Vendor(mac string) string {
	const prefix = len("00:00:00")
	if len(mac) < prefix {
		return ""
	}
	return vendors()[strings.ReplaceAll(mac[:prefix], ":", "")]
}
