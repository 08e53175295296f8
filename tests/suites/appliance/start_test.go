package appliance

import (
	"strings"
	"testing"
	"time"

	"sealpost/tests/rigs/lab"
)

func TestPID1_GoesOnWhereTheKernelsCommandLineFixesItsLog(t *testing.T) {
	for _, kernel := range []string{"printk.devkmsg=on", "printk.devkmsg=ratelimit"} {
		b := lab.New(t)
		b.Kernel = kernel
		b.SwitchOn(t)
		b.AwaitWords(t, lab.Started)
		terminal := b.PlugIn(t)
		lab.Play(t, terminal, "expect Press Enter to begin\nsend\nexpect This box was never set up\n")
		if b.Starts() != 1 {
			t.Errorf("%s: the box started %d times", kernel, b.Starts())
		}
	}
}

func TestBox_WithoutItsStorageSaysWhichAndOffersWhatItStillCan(t *testing.T) {
	b := lab.New(t)
	b.NoDisk = true
	b.SwitchOn(t)
	b.AwaitWords(t, lab.Started)
	terminal := b.PlugIn(t)
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
	send 2026-11-27 10:00:00
	expect The clock is set.
	expect Menu:
	send restart
	expect Type "yes"
	send yes
`)
	if err := b.AwaitStart(2); err != nil {
		t.Error(err)
	}
	if transcript := terminal.Transcript(); strings.Contains(transcript, "import or the relay makes it") {
		t.Errorf("it speaks of what nobody here can do:\n%s", transcript)
	}
}

func TestBox_KeepsMailOfTheFirstSecondsOfItsFirstStart(t *testing.T) {
	s := openInconstant(t)
	s.tenant.Behave(func(verb, _ string) string {
		if verb == "CONNECT" {
			return "421 4.3.2 Service not active"
		}
		return ""
	})
	b := lab.New(t)
	b.SetUp(t, s.first())
	b.Flash.Flash.SlowFlushes(time.Second) // the ring is being made for some seconds
	b.SwitchOn(t)
	b.AwaitBanner(t)
	if strings.Contains(b.KernelLog(), `event="spool opened"`) {
		t.Error("the ring was made before the first client came")
	}
	if err := b.Send("while the ring is being made"); err != nil {
		t.Errorf("the client heard %v", err)
	}
}
