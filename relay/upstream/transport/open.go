package transport

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"sealpost/relay/journal"
	"sealpost/relay/upstream/esmtp"
)

// Timeouts for connecting to one address, and to all addresses of a host.
const (
	connectTimeout = 10 * time.Second
	hostTimeout    = 30 * time.Second
)

// ErrRetryOnNewConnection is the error of an Authenticate that may succeed on a
// new connection; it is retried once.
var ErrRetryOnNewConnection = errors.New("the server closed the connection during the login")

// open connects, switches to TLS and authenticates.
func (t *Transport) open(ctx context.Context, to Destination) (*smtpConn, error) {
	leave, err := t.sessions.enter(ctx, to)
	if err != nil {
		return nil, err
	}
	conn, err := t.openAny(ctx, to)
	leave(err)
	return conn, err
}

// openAny opens a connection to the first usable mail host of the destination.
func (t *Transport) openAny(ctx context.Context, to Destination) (*smtpConn, error) {
	begun := time.Now()
	hosts, err := t.method.Hosts(ctx, to)
	if err != nil {
		return nil, err
	}
	for _, host := range t.backOff.order(hosts, begun) {
		conn, fault := t.openHost(ctx, host, to.Account)
		if errors.Is(fault, ErrRetryOnNewConnection) {
			conn, fault = t.openHost(ctx, host, to.Account)
		}
		if fault == nil {
			t.backOff.succeeded(host.Name)
			t.journal.Connected(conn.record, time.Since(begun))
			return conn, nil
		}
		err = &hostError{host.Name, fault}
		t.journal.ConnectFailed(host.Name, err, time.Since(begun))
		if ctx.Err() == nil && isHostFault(fault) {
			t.backOff.failed(host.Name, time.Now())
		}
		if ctx.Err() != nil || isAccountFault(err) {
			break
		}
	}
	return nil, err
}

func (t *Transport) openHost(ctx context.Context, host Host, account string) (*smtpConn, error) {
	var addresses []netip.Addr
	policy := verified
	if host.Secure != nil {
		var err error
		if addresses, policy, err = host.Secure(ctx); err != nil {
			return nil, err
		}
	}
	conn, err := t.dial(ctx, host.Name, addresses)
	if err != nil {
		return nil, err
	}
	record := journal.Connection{ID: rand.Text()[:8], Host: host.Name, Address: conn.RemoteAddr().String(), Policy: policy.Name}
	client, err := t.setUp(ctx, conn, &record, policy, account)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &smtpConn{client: client, record: record}, nil
}

// setUp runs the session up to the point where mail may be sent. No mail
// transaction is started before it returns.
func (t *Transport) setUp(ctx context.Context, conn net.Conn, record *journal.Connection, policy TLSPolicy, account string) (*esmtp.Client, error) {
	methodHandshake := t.method.NewHandshake(record, account)
	handshake := &tlsHandshake{transport: t, method: methodHandshake, record: record, policy: policy}
	secure := t.startTLS
	if t.config.Security == ImplicitTLS {
		secure = t.implicitTLS
	}
	client, state, err := secure(ctx, conn, handshake, record.ID)
	if err != nil {
		return nil, errors.Join(handshake.keyErr, err)
	}
	if err := methodHandshake.Authenticate(ctx, client); err != nil {
		return nil, err
	}
	handshake.recordState(state)
	return client, nil
}

// startTLS switches to TLS with STARTTLS, or stays in clear where the policy allows that.
func (t *Transport) startTLS(ctx context.Context, conn net.Conn, handshake *tlsHandshake, id string) (*esmtp.Client, tls.ConnectionState, error) {
	var none tls.ConnectionState
	client, err := esmtp.Dialogue(ctx, conn, t.journal.Conversation(id), t.config.ReplyTimeout)
	if err != nil {
		return nil, none, err
	}
	if err := client.Hello(ctx, t.config.Hello); err != nil {
		return nil, none, err
	}
	if !client.Offers("STARTTLS") {
		if handshake.policy.Clear {
			return client, none, nil
		}
		return nil, none, ErrNoTLS
	}
	state, err := client.StartTLS(ctx, handshake.config())
	return client, state, err
}

// implicitTLS starts with TLS.
func (t *Transport) implicitTLS(ctx context.Context, conn net.Conn, handshake *tlsHandshake, id string) (*esmtp.Client, tls.ConnectionState, error) {
	secured := tls.Client(conn, handshake.config())
	limited, cancel := context.WithTimeout(ctx, t.config.ReplyTimeout)
	defer cancel()
	if err := secured.HandshakeContext(limited); err != nil {
		return nil, tls.ConnectionState{}, fmt.Errorf("TLS handshake: %w", err)
	}
	client, err := esmtp.Dialogue(ctx, secured, t.journal.Conversation(id), t.config.ReplyTimeout)
	return client, secured.ConnectionState(), err
}

// dial tries the given addresses in turn, or else the host's, IPv4 first: Exchange Online
// accepts IPv6 only from addresses with reverse DNS, which few sites have.
func (t *Transport) dial(ctx context.Context, host string, addresses []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	if addresses == nil {
		var err error
		if addresses, err = t.addresses(ctx, host); err != nil {
			return nil, err
		}
	}
	dialer := net.Dialer{Timeout: connectTimeout}
	var failures []error
	for _, address := range addresses {
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(address, uint16(t.config.Port)).String())
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

func (t *Transport) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}, nil
	}
	addresses, err := t.config.Resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	for i := range addresses {
		addresses[i] = addresses[i].Unmap()
	}
	slices.SortStableFunc(addresses, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	const maxAddresses = 6
	return addresses[:min(len(addresses), maxAddresses)], nil
}
