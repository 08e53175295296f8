package appliance

import (
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
)

func TestBoxWithoutStorage_ReportsTheDeviceAndOffersTheOtherCommands(t *testing.T) {
	b := lab.New(t)
	b.NoDisk = true
	b.SwitchOn(t)
	b.MustLog(t, lab.Started)
	terminal := b.PlugIn(t)
	// A time before the program was built is refused.
	later := time.Now().UTC().Add(time.Hour).Format(time.DateTime)
	lab.Play(t, terminal, `
	expect Press Enter to begin
	send
	expect The storage of this box cannot be used: the storage device did not appear
	expect /dev/vda
	expect storage is fitted firmly
	expect status
	expect restart
	expect Menu:
	send status
	expect storage
	expect the storage device did not appear
	expect Menu:
	send logs
	expect the storage device did not appear
	expect Menu:
	send clock
	expect Time in UTC
	send `+later+`
	expect The clock is set.
	expect Menu:
	send restart
	expect Type "yes"
	send yes
`)
	if err := b.AwaitStart(2); err != nil {
		t.Error(err)
	}
	if transcript := terminal.Transcript(); strings.Contains(transcript, "import or the relay creates it") {
		t.Errorf("the console offers commands that this box does not have:\n%s", transcript)
	}
}
