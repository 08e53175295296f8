// Package appliance is PID 1 of a box: it brings the machine up, keeps the
// relay and the consoles running, and puts settings into force. It also holds
// what PID 1 does with a USB stick, which runs in a separate process
// (ApplyStick).
//
// It owns the order of the start, the processes and the machine's devices. It
// must not relay mail, word anything for a person, or end: when PID 1 ends the
// kernel panics. What it merely prefers it tries, logs and goes on without.
//
// # Order of the start
//
// The aim is the banner within 1.5 s, so what mail needs comes first, what
// takes long runs beside it, and the rest waits for the first banner.
//
//  1. Run mounts the pseudo file systems: nothing works without /proc and /dev.
//  2. It opens the kernel's log, which is the journal's way out, and reads what
//     the image says of its board.
//  3. process.ReapOrphans collects orphaned processes; the board's helper, if it has
//     one, starts now, since it may bring the TPM.
//  4. Kernel modules load beside everything else.
//  5. relayProcess.launch starts the relay's process before there is anything
//     to relay with: loading a program takes as long as the devices do. It
//     waits for its state, which belongs to root until step 7.
//  6. storage.open waits for the state device, and the confirmed commit rolls
//     back settings that a power cut found on trial: the relay must not read
//     those. A box whose storage is missing goes on, to say so.
//  7. configuration.adopt reads the settings, and storage.handOver passes the
//     state to the relay's user, for which the relay has waited; a box that
//     was never set up stops the relay instead.
//  8. Lamp and network start. The control socket answers, so that a console
//     that starts later can ask.
//  9. relayProcess.awaitFirstBanner keeps the processor free for mail.
//  10. Button, consoles, sticks, the later modules, the USB gadget, the clock
//     and the watchdog follow. The watchdog is armed last: from then on the
//     hardware restarts a box whose PID 1 hangs.
//
// # Locks
//
// Each component has one mutex, which guards its own fields. Two are held while
// another component is called: that of the confirmed commit during
// configuration.Reload, so that of two changes the later one stays in force, and
// that of configuration while it tells the relay and the network. The order is
// the confirmed commit, then configuration, then relayProcess or the network;
// lamp and health call nothing while they hold theirs, and the clock's Syncer only
// sets the clock and stores the time.
package appliance
