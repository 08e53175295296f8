// Package appliance is PID 1 of a box: it starts the machine, keeps the relay and
// the consoles running, and applies settings. It also contains the process that
// applies a USB stick (ApplyStick).
//
// It owns the start order, the processes and the machine's devices. It must not
// relay mail, contain texts for people, or exit: the kernel panics when PID 1
// exits. If something optional fails, it logs the error and continues.
//
// # Start order
//
// The goal is to greet clients within 1.5 s: what mail needs comes first, slow
// steps run in parallel, and the rest waits for the first greeting.
//
//  1. Run mounts the pseudo file systems: nothing works without /proc and /dev.
//  2. It opens the kernel's log, to which the journal is written, and reads the
//     description of the board.
//  3. process.ReapOrphans reaps orphaned processes; the board's helper process, if
//     there is one, starts now, because it may provide the TPM.
//  4. Kernel modules load in parallel.
//  5. relayProcess.launch starts the relay's process early, because loading a
//     program takes as long as the devices take to appear. It waits for its state, which
//     belongs to root until step 7.
//  6. storage.open waits for the state device, and the confirmed commit rolls
//     back settings that were on trial at a power cut, before the relay reads
//     them. A box without its storage continues, so that its console works.
//  7. configuration.adopt reads the settings, and storage.handOver passes the
//     state to the relay's user, which the relay waits for; a box that is not
//     set up stops the relay instead.
//  8. Lamp and network start. The control socket answers, so that a console
//     that starts later can ask.
//  9. relayProcess.awaitFirstBanner waits for the relay's first greeting.
//  10. Button, consoles, sticks, the later modules, the USB gadget, the clock
//     and the watchdog follow. The watchdog is armed last: from then on the
//     hardware restarts a box whose PID 1 hangs.
//
// # Locks
//
// Each component has one mutex, which guards its own fields. Two are held while
// another component is called: that of the confirmed commit during
// configuration.Reload, so that the later of two changes wins, and that of
// configuration while it calls the relay and the network. The lock order is the
// confirmed commit, then configuration, then relayProcess or the network; lamp
// and health call nothing while they hold theirs, and the clock's Syncer only sets
// the clock and stores the time.
package appliance
