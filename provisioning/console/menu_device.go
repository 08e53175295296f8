package console

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sealpost/hal/printable"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/operator"
	"sealpost/provisioning/settings"
)

// deviceKeys are the settings of a device, each with what to type.
var deviceKeys = [][2]string{
	{"name", "for people, such as Canon, 2nd floor"},
	{"refuse", "true: refuse its mail"},
	{"tls", "legacy: old TLS too; required: no mail in clear text"},
	{"auth", "any: accept any login; required: only as a user"},
	{"sender", "its own sender, instead of the default sender"},
	{"senders", "senders that it may use: addresses, @domains; with commas"},
	{"recipients", "whom it may send to: addresses, @domains, own; with commas"},
	{"tag", "lobby: printer@... becomes printer+lobby@..."},
	{"connections", "how many at once"},
	{"messages_per_minute", "how many"},
	{"message_size", "of one message, such as 10MiB"},
	{"recipients_per_message", "how many"},
	{"spool_share", "percent of the room for queued mail, such as 10"},
	{"silent_after", "time without mail that raises an alert, such as 26h"},
}

// changes is a change of the settings of devices.
type changes struct {
	text []byte // of the settings
	base string // version of the settings that the technician has seen
}

// beginChanges reads the settings for a change of devices.
func (s *session) beginChanges(ctx context.Context) (c changes, err error) {
	running, err := s.running(ctx)
	if err != nil {
		return c, err
	}
	if running.Trial {
		// A commit that is not on trial would confirm them.
		s.t.Say("Other settings are on trial: type \"confirm\" or \"back\" in the menu first.")
		return c, errBack
	}
	text, dropped, err := settings.EditStored([]byte(running.Settings), running.Schema)
	if err != nil {
		s.t.Say("%s", sentence(err))
		return c, errBack
	}
	s.sayIgnored(dropped, "A change that you apply here removes them:")
	return changes{text, candidate.Version(running.Settings)}, nil
}

// commitChanges commits a change of devices. It is not on trial, because nobody is
// cut off from the console by it, and an adopted device must not be refused again
// two minutes after the technician has left.
func (s *session) commitChanges(ctx context.Context, c changes, learning operator.Learning) error {
	text := "The relay restarts with it. It is not on trial: it needs no confirmation."
	if learning.For > 0 {
		text += " Learn mode ends with that: begin it again if more devices are to be found."
	}
	s.t.Say("%s", text)
	_, err := s.commit(ctx, candidate.Candidate{Settings: string(c.text), Base: c.base})
	return err
}

// adopt lists devices in the settings, so that they may send.
func (s *session) adopt(ctx context.Context, devices operator.Devices) error {
	c, err := s.beginChanges(ctx)
	if err != nil {
		return err
	}
	const all = "all"
	var learned []operator.Device
	for _, d := range devices.Seen {
		if d.Adoptable() {
			learned = append(learned, d)
		}
	}
	prompt, preset := "Address of the device, or all", all
	if len(learned) == 0 {
		s.t.Say("No device has sent only because of learn mode; a device that was refused is adopted by its address.")
		prompt, preset = "Address of the device", ""
	}
	var adopted []operator.Device
	var edited []byte
	err = s.ask(ctx, question{prompt, preset, func(answer string) (err error) {
		if adopted = learned; !strings.EqualFold(answer, all) || len(learned) == 0 {
			i := slices.IndexFunc(devices.Seen, func(d operator.Device) bool { return d.Address.String() == answer })
			if i < 0 {
				return invalidInput("No device with this address has connected: type one of the addresses above, or choose set to list another.")
			}
			adopted = devices.Seen[i : i+1]
		}
		edited, err = withDevices(c.text, adopted)
		return err
	}})
	if err != nil {
		return err
	}
	s.t.Say("This is written to the settings:")
	for _, d := range adopted[:min(len(adopted), maxDevices)] {
		s.showBlock(edited, d.Address.String())
	}
	if more := len(adopted) - maxDevices; more > 0 {
		s.t.Say("  and %d more", more)
	}
	return s.commitChanges(ctx, changes{edited, c.base}, devices.Learning)
}

// withDevices returns a settings text that lists devices.
func withDevices(text []byte, devices []operator.Device) ([]byte, error) {
	for _, d := range devices {
		block, err := settings.DeviceText(text, d.Address.String())
		if err == nil && block != "" {
			return nil, invalidInput(fmt.Sprintf("The settings list %s already: choose set to change what they say.", d.Address))
		}
		set := map[string]string{}
		if name := cmp.Or(d.Name, d.Maker); name != "" {
			set["name"] = name
		}
		if text, err = settings.EditDevice(text, d.Address.String(), set); err != nil {
			return nil, invalidInput(sentence(err) + ".")
		}
	}
	return text, nil
}

// showBlock shows what a settings text says of a device, and reports whether it says
// anything.
func (s *session) showBlock(text []byte, which string) bool {
	block, _ := settings.DeviceText(text, which)
	for line := range strings.Lines(block) {
		s.t.hang("    ", "  "+ascii(printable.Line(strings.TrimSuffix(line, "\n"))))
	}
	return block != ""
}

// setDevice changes what the settings say of one device.
func (s *session) setDevice(ctx context.Context, devices operator.Devices) error {
	c, err := s.beginChanges(ctx)
	if err != nil {
		return err
	}
	var which string
	err = s.ask(ctx, question{"Address of the device, or a network, or a MAC address", "", func(answer string) error {
		which = answer
		_, err := settings.DeviceText(c.text, which)
		return invalid(err)
	}})
	if err != nil {
		return err
	}
	if !s.showBlock(c.text, which) {
		s.t.Say("The settings do not list it yet.")
	}
	for _, key := range deviceKeys {
		s.t.hang(strings.Repeat(" ", 26), fmt.Sprintf("  %-22s  %s", key[0], key[1]))
	}
	var edited []byte
	err = s.ask(ctx, question{"Changes, such as name=Lobby tls=legacy; tls= removes one", "", func(answer string) error {
		set, err := parseChanges(answer)
		if err == nil {
			edited, err = settings.EditDevice(c.text, which, set)
		}
		return invalid(err)
	}})
	if err != nil {
		return err
	}
	if string(edited) == string(c.text) {
		s.t.Say("Nothing was changed.")
		return nil
	}
	s.t.Say("This is written to the settings:")
	s.showBlock(edited, which)
	return s.commitChanges(ctx, changes{edited, c.base}, devices.Learning)
}

// invalid makes an error one of an answer; nil stays nil.
func invalid(err error) error {
	if err == nil {
		return nil
	}
	return invalidInput(sentence(err) + ".")
}

// changeKey is the beginning of a change, such as "tls=".
var changeKey = regexp.MustCompile(`(?:^| )([a-z_]+) ?=`)

// parseChanges reads changes with spaces between them; a value may contain spaces too.
func parseChanges(answer string) (map[string]string, error) {
	keys := changeKey.FindAllStringSubmatchIndex(answer, -1)
	if len(keys) == 0 || keys[0][0] > 0 {
		return nil, fmt.Errorf("%q is not a change: type a key of the list, = and a value, such as tls=legacy", answer)
	}
	set := map[string]string{}
	for i, at := range keys {
		end := len(answer)
		if i+1 < len(keys) {
			end = keys[i+1][0]
		}
		set[answer[at[2]:at[3]]] = strings.Trim(answer[at[1]:end], ` "`)
	}
	return set, nil
}

// removeDevice removes one device from the settings.
func (s *session) removeDevice(ctx context.Context, devices operator.Devices) error {
	c, err := s.beginChanges(ctx)
	if err != nil {
		return err
	}
	parsed, err := settings.Parse(c.text)
	if err == nil && len(parsed.Devices) == 0 {
		s.t.Say("The settings list no device.")
		return nil
	}
	for _, d := range parsed.Devices[:min(len(parsed.Devices), maxDevices)] {
		s.t.Say("  %-18s  %s", cmp.Or(d.Address.String(), string(d.MAC)), d.Name)
	}
	if more := len(parsed.Devices) - maxDevices; more > 0 {
		s.t.Say("  and %d more", more)
	}
	var which string
	var edited []byte
	err = s.ask(ctx, question{"Which of these", "", func(answer string) (err error) {
		which = answer
		if block, err := settings.DeviceText(c.text, which); err == nil && block == "" {
			return invalidInput(fmt.Sprintf("The settings do not list %s: type one of those above.", which))
		}
		edited, err = settings.RemoveDevice(c.text, which)
		return invalid(err)
	}})
	if err != nil {
		return err
	}
	s.t.Say("This is removed from the settings:")
	s.showBlock(c.text, which)
	return s.commitChanges(ctx, changes{edited, c.base}, devices.Learning)
}
