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

// How long one address may take to answer a TCP connect, and all of a host's.
const (
	connectPatience = 10 * time.Second
	hostPatience    = 30 * time.Second
)

// ErrAgain is the error of a Greet that may fare better on a new connection; it
// gets one.
var ErrAgain = errors.New("the server hung up where it might have listened")

// open connects, goes over to TLS and introduces us: what it returns may carry
// mail.
func (t *Transport) open(ctx context.Context, to Destination) (*link, error) {
	leave, err := t.sessions.enter(ctx, to)
	if err != nil {
		return nil, err
	}
	l, err := t.openAny(ctx, to)
	leave(err)
	return l, err
}

// openAny opens the first of the destination's mail hosts that can be used.
func (t *Transport) openAny(ctx context.Context, to Destination) (*link, error) {
	begun := time.Now()
	hosts, err := t.way.Hosts(ctx, to)
	if err != nil {
		return nil, err
	}
	for _, host := range hosts {
		l, fault := t.openHost(ctx, host, to.Account)
		if errors.Is(fault, ErrAgain) {
			l, fault = t.openHost(ctx, host, to.Account)
		}
		if fault == nil {
			t.journal.Connected(l.record, time.Since(begun))
			return l, nil
		}
		err = &onHost{host, fault}
		t.journal.ConnectFailed(host, err, time.Since(begun))
		if ctx.Err() != nil || ofAccount(err) {
			break
		}
	}
	return nil, err
}

func (t *Transport) openHost(ctx context.Context, host, account string) (*link, error) {
	conn, err := t.dial(ctx, host)
	if err != nil {
		return nil, err
	}
	record := journal.Connection{ID: rand.Text()[:8], Host: host, Address: conn.RemoteAddr().String()}
	client, err := t.introduce(ctx, conn, &record, account)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return &link{client: client, record: record}, nil
}

// introduce holds the dialogue up to where mail may be sent. Nothing of a
// message is said before it returns.
func (t *Transport) introduce(ctx context.Context, conn net.Conn, record *journal.Connection, account string) (*esmtp.Client, error) {
	own := t.way.Introduce(record, account)
	shake := &handshake{transport: t, own: own, record: record}
	secure := t.startTLS
	if t.config.Security == Immediate {
		secure = t.tlsFirst
	}
	client, state, err := secure(ctx, conn, shake.config(), record.ID)
	if err != nil {
		return nil, errors.Join(shake.fault, err)
	}
	if err := own.Authenticate(ctx, client); err != nil {
		return nil, err
	}
	shake.complete(state)
	return client, nil
}

// startTLS goes over to TLS by the command.
func (t *Transport) startTLS(ctx context.Context, conn net.Conn, config *tls.Config, id string) (*esmtp.Client, tls.ConnectionState, error) {
	var none tls.ConnectionState
	client, err := esmtp.Dialogue(ctx, conn, t.journal.Conversation(id), t.config.ReplyTimeout)
	if err != nil {
		return nil, none, err
	}
	if err := client.Hello(ctx, t.config.Hello); err != nil {
		return nil, none, err
	}
	if !client.Offers("STARTTLS") {
		return nil, none, errNoTLS
	}
	state, err := client.StartTLS(ctx, config)
	return client, state, err
}

// tlsFirst begins with TLS.
func (t *Transport) tlsFirst(ctx context.Context, conn net.Conn, config *tls.Config, id string) (*esmtp.Client, tls.ConnectionState, error) {
	secured := tls.Client(conn, config)
	limited, cancel := context.WithTimeout(ctx, t.config.ReplyTimeout)
	defer cancel()
	if err := secured.HandshakeContext(limited); err != nil {
		return nil, tls.ConnectionState{}, fmt.Errorf("TLS handshake: %w", err)
	}
	client, err := esmtp.Dialogue(ctx, secured, t.journal.Conversation(id), t.config.ReplyTimeout)
	return client, secured.ConnectionState(), err
}

// dial tries the host's addresses in turn, IPv4 first: Exchange Online takes
// IPv6 only from addresses with reverse DNS, which few sites have.
func (t *Transport) dial(ctx context.Context, host string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, hostPatience)
	defer cancel()
	addresses, err := t.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: connectPatience}
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
	const most = 6
	return addresses[:min(len(addresses), most)], nil
}
