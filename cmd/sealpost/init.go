package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"sealpost/hal/linux/board"
	"sealpost/hal/linux/flash"
	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/led"
	"sealpost/hal/linux/network"
	"sealpost/hal/linux/process"
	"sealpost/provisioning/candidate"
	"sealpost/provisioning/settings"
	"sealpost/provisioning/state"
	"sealpost/relay/control"
	"sealpost/relay/journal"
)

// Where PID 1 keeps what the processes of the box share; all of it is RAM.
const (
	relayDir    = "/run/relay"
	relaySocket = relayDir + "/control.sock"
	initSocket  = "/run/init.sock"
	networkDir  = "/run/network" // the relay may read what is there
	resolvConf  = networkDir + "/resolv.conf"
)

// program is where the kernel finds this program in the initramfs.
const program = "/init"

// relayUser is the relay's user and group, who owns the state and the TPM and
// nothing else.
const relayUser = 1000

// devicePatience is how long a device that the board must have may take,
// tpmComes how long the relay's start waits for the TPM.
const (
	devicePatience = 10 * time.Second
	tpmComes       = 3 * time.Second
)

func initCommand() *cobra.Command {
	c := leaf("init", "Be the first process of an appliance", 0, func(c *cobra.Command, _ []string) error {
		if os.Getpid() != 1 {
			return &usageError{errors.New("this is what the kernel of an appliance runs first; on any other machine use: sealpost relay")}
		}
		return runInit(c.Context())
	})
	c.Hidden = true
	return c
}

// machine is the box as its first process sees it.
type machine struct {
	facts   board.Facts
	serial  string
	journal *journal.Journal
	network *network.Manager
	device  *flash.Device
	store   *state.Store
	begun   time.Time
	clockAt chan struct{} // asks the time servers at once

	relay       *process.Child
	served      chan struct{} // closed when a relay answered for the first time
	firstServed sync.Once

	stick     sync.Mutex                 // held while a stick is being looked at
	confirmed *candidate.ConfirmedCommit // puts settings into force; before mu in the lock order

	mu         sync.Mutex
	settings   *settings.Settings // nil in the factory state and without any that can be used
	hostname   string             // as the network knows the box
	unreadable bool               // the stored settings were, when last looked at
	serving    context.CancelFunc // ends the relay; nil while there is none
	ends       int                // of relays that nobody asked to end
	last       string             // why the last one did
	unwell     string
	doubt      string        // why the clock is not trusted
	lamp       led.Condition // only what the stick, the button and the queue say
}

// runInit brings the machine up and never returns: a first process that ends is
// a panic, after which the kernel restarts the machine.
func runInit(ctx context.Context) error {
	if err := kernel.Mount(); err != nil {
		return err
	}
	if err := linkResolvConf(); err != nil {
		return err
	}
	log, err := kernel.OpenLog()
	if err != nil {
		return err
	}
	facts, err := board.Load(board.FactsPath)
	if err != nil {
		return err
	}
	m := &machine{facts: facts, begun: time.Now(), clockAt: make(chan struct{}, 1), served: make(chan struct{}), journal: journal.New(journal.Text(log, false))}
	go process.ReapOrphans(ctx)
	m.startHelper(ctx)
	modules := make(chan error, 1)
	go func() { modules <- kernel.LoadModules(board.ModulesPath) }()
	m.network = network.New(network.Options{ResolvConf: resolvConf})
	m.startRelay(ctx)
	// Without its state the box can still say so on its console.
	m.try("state", m.openState())
	m.confirmed = m.newConfirmedCommit()
	if m.store != nil {
		m.try("settings", m.confirmed.Start(ctx))
	}
	m.begin(ctx)
	m.try("modules", <-modules)
	m.serial, err = board.Serial()
	m.try("serial number", err)
	m.journal.BoardStarted(facts.Name, m.serial, version)
	m.startLamp(ctx)
	m.startNetwork(ctx)
	failed := make(chan error, 1)
	go func() { failed <- m.answer() }()
	m.awaitServing()
	m.startButton(ctx)
	m.startLines(ctx)
	m.startSticks(ctx)
	m.try("modules", kernel.LoadModules(board.LaterPath))
	go m.startGadget(ctx)
	m.startCare(ctx)
	return <-failed
}

// linkResolvConf has the resolver find its file where it may change.
func linkResolvConf() error {
	if err := os.MkdirAll(networkDir, 0o755); err != nil {
		return fmt.Errorf("making a place for the resolver's file: %w", err)
	}
	if err := os.Symlink(resolvConf, "/etc/resolv.conf"); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("linking the resolver's file: %w", err)
	}
	return nil
}

// try records a fault that the box goes on without.
func (m *machine) try(part string, err error) {
	if err != nil {
		m.journal.MachineFault(part, err)
	}
}

func (m *machine) startHelper(ctx context.Context) {
	if len(m.facts.Helper) == 0 {
		return
	}
	go m.child("helper", m.facts.Helper).Run(ctx)
}

// child is a process whose ends are recorded.
func (m *machine) child(name string, args []string) *process.Child {
	return &process.Child{
		Name:    name,
		Args:    args,
		Started: func(pid int) { m.journal.ProcessStarted(name, pid, kernel.Uptime()) },
		Ended:   func(e process.End) { m.journal.ProcessEnded(name, e.Words, e.Last, e.Pause) },
	}
}

// openState opens the settings area.
func (m *machine) openState() error {
	if err := kernel.AwaitDevice(m.facts.State, devicePatience); err != nil {
		return fmt.Errorf("the state device: %w", err)
	}
	device, err := flash.Open(m.facts.State)
	if err != nil {
		return err
	}
	m.device = device
	m.store, err = storeIn(device)
	return err
}

// startRelay starts the relay before there is anything to serve with: what a
// program does at its start takes as long as the devices do. It waits for its
// state.
func (m *machine) startRelay(ctx context.Context) {
	if err := errors.Join(os.MkdirAll(relayDir, 0o755), os.Chown(relayDir, relayUser, relayUser)); err != nil {
		m.try("relay", err)
	}
	m.relay = m.child("relay", append([]string{program, "relay", "--appliance"}, m.boardFlags()...))
	m.relay.User, m.relay.Group = relayUser, relayUser
	m.relay.Capabilities = []uintptr{unix.CAP_NET_BIND_SERVICE}
	m.relay.Env = []string{"GOMEMLIMIT=" + memoryLimit()}
	recordStart, recordEnd := m.relay.Started, m.relay.Ended
	forgetLast := func() {}
	m.relay.Started = func(pid int) {
		recordStart(pid)
		forgetLast()
		var awaiting context.Context
		awaiting, forgetLast = context.WithCancel(ctx)
		go m.awaitRelay(awaiting)
	}
	m.relay.Ended = func(e process.End) {
		m.mu.Lock()
		m.ends, m.last = m.ends+1, lastLine(e)
		m.mu.Unlock()
		recordEnd(e)
	}
	m.mu.Lock()
	m.serve(ctx)
	m.mu.Unlock()
	go m.handOverTPM()
}

// begin hands the state over to the relay that waits for it, unless the box was
// never set up.
func (m *machine) begin(ctx context.Context) {
	if m.adopt(ctx) == nil {
		m.stopServing()
	}
	if m.store != nil {
		m.try("state", os.Chown(m.facts.State, relayUser, relayUser))
	}
}

// memoryLimit leaves half of the machine to the kernel and the other processes.
func memoryLimit() string {
	total := kernel.Memory()
	if total == 0 {
		return "off"
	}
	return fmt.Sprint(total / 2)
}

// handOverTPM gives the relay the TPM. For one that comes late there must be a
// new relay: a confined one cannot be given more.
func (m *machine) handOverTPM() {
	if !filepath.IsAbs(m.facts.TPM) {
		return
	}
	err := kernel.AwaitFile(m.facts.TPM, tpmComes)
	late := err != nil
	if late {
		m.try("TPM", fmt.Errorf("there is no %s: check that the TPM is fitted", m.facts.TPM))
	}
	for err != nil {
		err = kernel.AwaitFile(m.facts.TPM, time.Hour)
	}
	m.try("TPM", os.Chown(m.facts.TPM, relayUser, relayUser))
	if late {
		m.relay.Restart()
	}
}

// boardFlags tell every command of the box where its parts are.
func (m *machine) boardFlags() []string {
	return []string{"--config=", "--state=" + m.facts.State, "--tpm=" + m.facts.TPM, "--control=" + relaySocket}
}

// answer serves the calls of the box's other processes, for ever.
func (m *machine) answer() error {
	socket, err := control.Listen(initSocket)
	if err != nil {
		return err
	}
	return control.New(m.journal, m.calls()).Serve(socket)
}
