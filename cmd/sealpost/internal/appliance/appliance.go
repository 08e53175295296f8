package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"sealpost/cmd/sealpost/internal/machine"
	"sealpost/hal/linux/board"
	"sealpost/hal/linux/kernel"
	"sealpost/hal/linux/network"
	"sealpost/hal/linux/process"
	"sealpost/provisioning/candidate"
	"sealpost/relay/control"
	"sealpost/relay/journal"
)

// Files that the processes of the box share; all are in RAM.
const (
	relayDir    = "/run/relay"
	relaySocket = relayDir + "/control.sock"
	resolvConf  = NetworkDir + "/resolv.conf"
)

// NetworkDir is the folder with the resolver's configuration, which the relay may
// read.
const NetworkDir = "/run/network"

// program is the path of this program in the initramfs.
const program = "/init"

// DeviceTimeout is the longest wait for a device of the board.
const DeviceTimeout = 10 * time.Second

// Build describes the program.
type Build struct {
	Version string
	Made    time.Time // when it was built: no valid time is earlier
}

// Appliance is PID 1 of a box.
type Appliance struct {
	*group
	build  Build
	facts  board.Facts
	serial string

	storage       *storage
	configuration *configuration
	commit        *candidate.ConfirmedCommit
	relay         *relayProcess
	network       *networkPort
	clock         *timekeeper
	health        *health
	lamp          *lamp
}

// Run starts the machine and returns when ctx ends, or if the machine lacks
// something essential. See the package comment for the order.
func Run(ctx context.Context, build Build) error {
	if err := kernel.Mount(); err != nil {
		return err
	}
	log, unlogged := openLog()
	facts, err := board.Load(board.FactsPath)
	if err != nil {
		return err
	}
	a := &Appliance{group: newGroup(ctx, journal.New(journal.Text(log, false))), build: build, facts: facts}
	defer a.stop()
	a.logFault("kernel log", unlogged)
	a.logFault("resolver", linkResolvConf())
	a.spawn(process.ReapOrphans)
	if len(facts.Helper) > 0 {
		a.spawn(a.child("helper", facts.Helper).Run)
	}
	modules, loaded := make(chan error, 1), make(chan struct{})
	a.spawn(func(context.Context) {
		defer close(loaded)
		modules <- kernel.LoadModules(board.ModulesPath)
	})

	a.relay = newRelayProcess(a.group, a.child("relay", append([]string{program, "relay", "--appliance"}, a.boardFlags()...)))
	a.network = newNetworkPort(a.group, network.New(network.Options{ResolvConf: resolvConf}))
	a.relay.launch()
	a.spawn(func(ctx context.Context) { a.relay.handOverTPM(ctx, facts.TPM, loaded) })

	a.storage = openStorage(facts.State, facts.Partition)
	if a.storage.fault != nil {
		a.logFault("state", a.storage.fault)
	}
	a.configuration = newConfiguration(a.group, a.storage, a.relay, a.network)
	a.commit = candidate.NewConfirmedCommit(candidate.ConfirmedCommitConfig{
		Store: a.storage.candidateStore(), NoStore: a.storage.err(), Applier: a.configuration, Recorder: recorder{a.group},
	})
	if a.storage.fault == nil {
		a.logFault("settings", a.commit.Start(ctx))
	}
	a.configuration.adopt(ctx)
	a.logFault("state", a.storage.handOver())

	a.logFault("modules", <-modules)
	a.serial, err = board.Serial()
	a.logFault("serial number", err)
	a.journal.BoardStarted(facts.Name, a.serial, build.Version)
	a.clock = newTimekeeper(a.group, a.storage, build.Made, func() []string { return a.network.status().NTP }, a.configuration.httpsTime)
	a.health = newHealth(a.group, a.relay)
	a.lamp = newLamp(a.group, facts, a.configuration, a.relay, a.health)
	a.network.start(a.configuration.hostname, a.relay.awaitFirstBanner, a.clock.queryServers)
	a.keep("control socket", a.answer)

	a.relay.awaitFirstBanner()
	a.lamp.startButton(func() { a.logFault("reset", a.FactoryReset(ctx, "button")) })
	for _, line := range facts.Lines {
		a.startConsole(line)
	}
	a.startSticks()
	a.logFault("modules", kernel.LoadModules(board.LaterPath))
	a.spawn(a.startGadget)
	a.clock.start()
	a.health.start(facts.Watchdog)
	<-ctx.Done()
	return context.Cause(ctx)
}

// openLog returns the kernel's log, or else the console and an error.
func openLog() (io.Writer, error) {
	unlimited := kernel.UnlimitLog()
	log, err := kernel.OpenLog()
	if err != nil {
		return os.Stderr, errors.Join(unlimited, err)
	}
	return log, unlimited
}

// linkResolvConf links resolv.conf to a writable file.
func linkResolvConf() error {
	if err := os.MkdirAll(NetworkDir, 0o755); err != nil {
		return fmt.Errorf("creating the folder for resolv.conf: %w", err)
	}
	if err := os.Symlink(resolvConf, "/etc/resolv.conf"); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("linking resolv.conf: %w", err)
	}
	return nil
}

// child returns a child process whose starts and exits are logged.
func (a *Appliance) child(name string, args []string) *process.Child {
	return &process.Child{
		Name:    name,
		Args:    args,
		Started: func(pid int) { a.journal.ProcessStarted(name, pid, kernel.Uptime()) },
		Ended:   func(e process.End) { a.journal.ProcessEnded(name, e.Status, e.Last, e.Delay) },
	}
}

// boardFlags are the flags with the box's parts for every command.
func (a *Appliance) boardFlags() []string {
	return []string{"--config=", "--state=" + a.facts.State, "--tpm=" + a.facts.TPM, "--control=" + relaySocket}
}

// answer serves the control socket.
func (a *Appliance) answer(ctx context.Context) error {
	socket, err := control.Listen(machine.Socket)
	if err != nil {
		return err
	}
	server := control.New(a.journal)
	machine.Handle(server, a)
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	return server.Serve(socket)
}

// recorder logs changes of the settings.
type recorder struct{ *group }

// SettingsApplied implements candidate.Recorder.
func (r recorder) SettingsApplied(trial time.Duration) { r.journal.SettingsApplied(trial) }

// SettingsRolledBack implements candidate.Recorder.
func (r recorder) SettingsRolledBack() { r.journal.SettingsRolledBack() }

// RollbackFailed implements candidate.Recorder.
func (r recorder) RollbackFailed(err error) { r.logFault("settings", err) }
