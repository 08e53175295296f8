// Command vendors writes relay/device/vendors.txt from the IEEE's register of MAC address
// prefixes (Debian's package ieee-data has it): the prefixes of makers whose devices
// send mail at a site.
package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strings"
)

// makers are the names to show, with how the register's names begin, in lower case.
var makers = []struct {
	name     string
	register []string
}{
	{"APC", []string{"american power conversion", "apc by schneider"}},
	{"Aruba", []string{"aruba"}},
	{"Axis", []string{"axis communications"}},
	{"Beckhoff", []string{"beckhoff"}},
	{"Bosch", []string{"bosch security", "robert bosch", "bosch rexroth"}},
	{"Brother", []string{"brother industries"}},
	{"Buffalo", []string{"buffalo"}},
	{"Canon", []string{"canon"}},
	{"Cisco", []string{"cisco systems", "cisco meraki"}},
	{"Dahua", []string{"zhejiang dahua"}},
	{"Dell", []string{"dell inc", "dell technologies"}},
	{"Develop", []string{"develop"}},
	{"Eaton", []string{"eaton", "powerware"}},
	{"Epson", []string{"seiko epson"}},
	{"Fortinet", []string{"fortinet"}},
	{"Fuji Xerox", []string{"fuji xerox", "fujifilm business innovation"}},
	{"Hanwha", []string{"hanwha", "samsung techwin"}},
	{"Hewlett Packard", []string{"hewlett packard", "hp inc"}},
	{"Hikvision", []string{"hangzhou hikvision"}},
	{"Konica Minolta", []string{"konica minolta"}},
	{"Kyocera", []string{"kyocera document", "kyocera display", "kyocera corporation", "kyocera mita"}},
	{"Lenovo", []string{"lenovo"}},
	{"Lexmark", []string{"lexmark"}},
	{"Mikrotik", []string{"routerboard"}},
	{"Mobotix", []string{"mobotix"}},
	{"NETGEAR", []string{"netgear"}},
	{"Oki", []string{"oki data", "oki electric"}},
	{"Panasonic", []string{"panasonic"}},
	{"QNAP", []string{"qnap"}},
	{"Raritan", []string{"raritan"}},
	{"Raspberry Pi", []string{"raspberry pi"}},
	{"Ricoh", []string{"ricoh"}},
	{"Rittal", []string{"rittal"}},
	{"Samsung", []string{"samsung electronics"}},
	{"Schneider Electric", []string{"schneider electric"}},
	{"Sharp", []string{"sharp corporation"}},
	{"Siemens", []string{"siemens ag", "siemens building", "siemens industrial"}},
	{"SonicWall", []string{"sonicwall"}},
	{"Sony", []string{"sony corporation"}},
	{"Sophos", []string{"sophos"}},
	{"Super Micro", []string{"super micro"}},
	{"Synology", []string{"synology"}},
	{"Toshiba", []string{"toshiba"}},
	{"TP-Link", []string{"tp-link"}},
	{"Ubiquiti", []string{"ubiquiti"}},
	{"VMware", []string{"vmware"}},
	{"Vertiv", []string{"vertiv", "liebert", "emerson network"}},
	{"Vivotek", []string{"vivotek"}},
	{"WAGO", []string{"wago"}},
	{"Western Digital", []string{"western digital"}},
	{"Xerox", []string{"xerox"}},
	{"Zebra", []string{"zebra"}},
	{"Zyxel", []string{"zyxel"}},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vendors:", err)
		os.Exit(1)
	}
}

func run() error {
	file, err := os.Open("/usr/share/ieee-data/oui.csv")
	if err != nil {
		return fmt.Errorf("%w: install ieee-data", err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		return fmt.Errorf("reading the register: %w", err)
	}
	prefixes := map[string][]string{}
	for _, row := range rows[1:] {
		prefix, owner := strings.ToLower(row[1]), strings.ToLower(row[2])
		for _, maker := range makers {
			if slices.ContainsFunc(maker.register, func(begin string) bool { return strings.HasPrefix(owner, begin) }) {
				prefixes[maker.name] = append(prefixes[maker.name], prefix)
			}
		}
	}
	for _, maker := range makers {
		if all := prefixes[maker.name]; len(all) > 0 {
			slices.Sort(all)
			fmt.Printf("%s: %s\n", maker.name, strings.Join(slices.Compact(all), " "))
		}
	}
	return nil
}
