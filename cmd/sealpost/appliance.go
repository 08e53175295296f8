package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"time"

	"sealpost/hal/linux/clock"
	"sealpost/hal/linux/confine"
	"sealpost/hal/linux/kernel"
	"sealpost/provisioning/settings"
)

// readable is what a relay without a file system of its own must read: Go's
// resolver and listener do.
var readable = []string{"/etc/hosts", "/etc/nsswitch.conf", "/proc/sys/net/core/somaxconn"}

// confine leaves the relay its state and its TPM, which may still be coming:
// later it could not be given any more.
func (b *box) confine() error {
	rights := confine.Rights{ReadWrite: []string{b.settings.State.Path}, Read: readable, ReadIn: []string{networkDir}}
	if tpm := string(b.settings.Keys.TPM); filepath.IsAbs(tpm) {
		_ = kernel.AwaitDevice(tpm, tpmComes+time.Second)
		rights.ReadWrite = append(rights.ReadWrite, tpm)
	}
	return confine.Enforce(rights)
}

// loopback is the box itself, whose test messages the relay takes.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// awaitClock holds mail back until somebody has set the clock.
func (r *relay) awaitClock(ctx context.Context) {
	if clock.Trusted() {
		return
	}
	r.dispatcher.AwaitClock("the box does not know what time it is yet: check that it reaches a time server, or set the clock on the console")
	r.serving.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for !clock.Trusted() {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		r.dispatcher.ClockSet()
	})
}

// healthPatience is how long a listener may take to greet.
const healthPatience = 3 * time.Second

// health answers whether the relay is of use, for whoever can restart it. A
// relay that has no spool and says so to its clients is: a restart would not
// cure it.
func (r *relay) health(ctx context.Context, _ url.Values, w io.Writer) error {
	if err := r.dispatcher.Failed(); err != nil {
		return fmt.Errorf("the spool: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, healthPatience)
	defer cancel()
	r.dispatcher.Status() // answers unless the dispatcher is stuck
	if err := greeted(ctx, r.box.settings.LAN.SMTP); err != nil {
		return err
	}
	_, err := io.WriteString(w, "{}\n")
	return err
}

// greeted connects to each listener and tells whether all of them greet.
func greeted(ctx context.Context, listeners []settings.Listen) error {
	for _, address := range listeners {
		if err := greets(ctx, address); err != nil {
			return err
		}
	}
	return nil
}

// dialable is how this machine itself reaches a listener.
func dialable(address settings.Listen) (string, error) {
	host, port, err := net.SplitHostPort(string(address))
	if err != nil {
		return "", fmt.Errorf("the listener %s: %w", address, err)
	}
	if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// greets tells whether a listener greets whoever connects.
func greets(ctx context.Context, address settings.Listen) error {
	target, err := dialable(address)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return fmt.Errorf("the listener %s: %w", address, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(healthPatience))
	greeting := make([]byte, len("220 "))
	if _, err := io.ReadFull(conn, greeting); err != nil {
		return fmt.Errorf("the listener %s does not answer: %w", address, err)
	}
	// Any reply is an answer, also that too many are connected.
	_, err = io.WriteString(conn, "QUIT\r\n")
	return err
}
