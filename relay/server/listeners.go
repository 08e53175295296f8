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

// listener is an open listener with what serves it.
type listener struct {
	net.Listener
	serve func(net.Listener) error
}

type listeners []listener

// listen opens what the configuration names; with an error it gives those that
// are open already.
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
	l, err := net.Listen("tcp", address)
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

// GreetTimeout is how long a listener may take to greet.
const GreetTimeout = 3 * time.Second

// Greets connects to each listener from this machine, and says which one does
// not greet; nil where all do.
func Greets(ctx context.Context, addresses []string) error {
	for _, address := range addresses {
		if err := greets(ctx, address); err != nil {
			return err
		}
	}
	return nil
}

func greets(ctx context.Context, address string) error {
	target, err := LocalAddress(address)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", target)
	if err != nil {
		return fmt.Errorf("the listener %s: %w", address, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(GreetTimeout))
	greeting := make([]byte, len("220 "))
	if _, err := io.ReadFull(conn, greeting); err != nil {
		return fmt.Errorf("the listener %s does not answer: %w", address, err)
	}
	// Any reply is an answer, also that too many clients are connected.
	_, err = io.WriteString(conn, "QUIT\r\n")
	return err
}

// LocalAddress is how this machine itself reaches a listener.
func LocalAddress(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("the listener %s: %w", listen, err)
	}
	if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
