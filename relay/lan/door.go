package lan

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"sealpost/relay/reply"
)

// doorman lets in the clients that may come in, and turns the others away
// before they can say anything.
type doorman struct {
	net.Listener
	server   *Server
	turnAway func(net.Conn, reply.Reply)
	dress    func(*clientConn) net.Conn // in TLS, where it begins with that; may wait for it
	entered  chan net.Conn
	failed   chan error
}

func (s *Server) door(l net.Listener, turnAway func(net.Conn, reply.Reply), dress func(*clientConn) net.Conn) *doorman {
	d := &doorman{l, s, turnAway, dress, make(chan net.Conn), make(chan error)}
	go d.receive()
	return d
}

// Accept gives the next client that came in.
func (d *doorman) Accept() (net.Conn, error) {
	select {
	case conn := <-d.entered:
		return conn, nil
	case err, open := <-d.failed:
		if !open {
			err = net.ErrClosed
		}
		return nil, err
	}
}

// receive judges clients as they come, until the listener is closed.
func (d *doorman) receive() {
	defer close(d.failed)
	for {
		conn, err := d.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			d.judge(conn)
			continue
		}
		select {
		case d.failed <- err:
		case <-d.server.context.Done():
		}
	}
}

func (d *doorman) judge(conn net.Conn) {
	client := peer(conn)
	if !d.server.policy.MayRelay(client) {
		d.refuse(conn, client, reply.New(554, 7, 1, "%s does not relay for %s: add its network to lan.allow", d.server.config.Hostname, client.Unmap()))
		return
	}
	admitted, answer, ok := d.server.sessions.admit(conn, client)
	if !ok {
		d.refuse(conn, client, answer)
		return
	}
	if d.server.sessions.haveBegunWithTLS(client) {
		go d.enter(admitted) // dressing may take its time
		return
	}
	d.enter(admitted)
}

func (d *doorman) enter(admitted *clientConn) {
	select {
	case d.entered <- d.dress(admitted):
	case <-d.server.context.Done():
		_ = admitted.Close()
	}
}

func (d *doorman) refuse(conn net.Conn, client netip.Addr, answer reply.Reply) {
	d.server.journal.ClientRefused(client, answer)
	d.turnAway(conn, answer)
}

// decline says why, without keeping other clients waiting.
func (s *Server) decline(conn net.Conn, answer reply.Reply) {
	if !s.sessions.partings.TryAcquire() {
		hangUp(conn, answer)
		return
	}
	go func() {
		defer s.sessions.partings.Release()
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(partingTime))
		if _, err := io.WriteString(conn, answer.String()+"\r\n"); err == nil {
			part(conn)
		}
	}()
}

func hangUp(conn net.Conn, _ reply.Reply) { _ = conn.Close() }

func peer(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// slots counts something of which there may only be so many.
type slots chan struct{}

func (s slots) TryAcquire() bool {
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s slots) Release() { <-s }
