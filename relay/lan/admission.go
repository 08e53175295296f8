package lan

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"sealpost/relay/reply"
)

// admission accepts the clients that may send, and rejects the others before
// they can say anything.
type admission struct {
	net.Listener
	server   *Server
	reject   func(net.Conn, reply.Reply)
	wrapTLS  func(*clientConn) net.Conn // in TLS, where the client begins with that; may wait for it
	admitted chan net.Conn
	failed   chan error
}

func (s *Server) admit(l net.Listener, reject func(net.Conn, reply.Reply), wrapTLS func(*clientConn) net.Conn) *admission {
	d := &admission{l, s, reject, wrapTLS, make(chan net.Conn), make(chan error)}
	go d.receive()
	return d
}

// Accept returns the next admitted client.
func (d *admission) Accept() (net.Conn, error) {
	select {
	case conn := <-d.admitted:
		return conn, nil
	case err, open := <-d.failed:
		if !open {
			err = net.ErrClosed
		}
		return nil, err
	}
}

// receive checks clients as they connect, until the listener is closed.
func (d *admission) receive() {
	defer close(d.failed)
	for {
		conn, err := d.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			d.check(conn)
			continue
		}
		select {
		case d.failed <- err:
		case <-d.server.context.Done():
		}
	}
}

func (d *admission) check(conn net.Conn) {
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
		go d.enter(admitted) // wrapping may wait for the client
		return
	}
	d.enter(admitted)
}

func (d *admission) enter(admitted *clientConn) {
	select {
	case d.admitted <- d.wrapTLS(admitted):
	case <-d.server.context.Done():
		_ = admitted.Close()
	}
}

func (d *admission) refuse(conn net.Conn, client netip.Addr, answer reply.Reply) {
	d.server.journal.ClientRefused(client, answer)
	d.reject(conn, answer)
}

// rejectWithReply says why, without keeping other clients waiting.
func (s *Server) rejectWithReply(conn net.Conn, answer reply.Reply) {
	if !s.sessions.rejectSlots.TryAcquire() {
		hangUp(conn, answer)
		return
	}
	go func() {
		defer s.sessions.rejectSlots.Release()
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
