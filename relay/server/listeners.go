package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"sealpost/relay/lan"
)

// listener is an open listener and the function that serves it.
type listener struct {
	net.Listener
	serve func(net.Listener) error
}

type listeners []listener

// listen opens the configured listeners. On error it returns those already
// open.
func listen(config Config, smtp *lan.Server) (listeners, error) {
	var all listeners
	for _, address := range config.SMTP {
		if err := all.open(address, smtp.Serve); err != nil {
			return all, err
		}
	}
	for _, address := range config.SMTPS {
		if err := all.open(address, smtp.ServeTLS); err != nil {
			return all, err
		}
	}
	return all, nil
}

func (all *listeners) open(address string, serve func(net.Listener) error) error {
	// Keep-alive probes are needless: each session has a time limit.
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", address)
	if err != nil {
		cure := "choose another port in lan.smtp and lan.smtps"
		if strings.Contains(err.Error(), "permission denied") {
			cure = "ports below 1024 need root, or: setcap cap_net_bind_service=+ep on the program"
		}
		return fmt.Errorf("%w: %s", err, cure)
	}
	*all = append(*all, listener{l, serve})
	return nil
}

func (all listeners) close() {
	for _, l := range all {
		_ = l.Close()
	}
}

// GreetTimeout is the time within which a listener must greet.
const GreetTimeout = 3 * time.Second

// CheckListeners connects to each listener from this machine and returns an
// error for the first that does not greet.
func CheckListeners(ctx context.Context, addresses []string) error {
	for _, address := range addresses {
		if err := checkListener(ctx, address); err != nil {
			return err
		}
	}
	return nil
}

func checkListener(ctx context.Context, address string) error {
	target, err := LocalAddress(address)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return fmt.Errorf("listener %s: %w", address, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(GreetTimeout))
	greeting := make([]byte, len("220 "))
	if _, err := io.ReadFull(conn, greeting); err != nil {
		return fmt.Errorf("listener %s does not greet: %w", address, err)
	}
	// Any reply will do, even 421 for too many connections.
	_, err = io.WriteString(conn, "QUIT\r\n")
	return err
}

// LocalAddress returns the address at which this machine reaches a listener.
func LocalAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("listener %s: %w", listen, err)
	}
	if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
