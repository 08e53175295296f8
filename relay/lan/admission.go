package lan

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"sealpost/relay/device"
	"sealpost/relay/policy"
	"sealpost/relay/reply"
)

// admission is a listener that accepts clients that may relay, and rejects
// others before they send anything.
type admission struct {
	net.Listener
	server   *Server
	smtps    bool // for implicit TLS
	reject   func(net.Conn, reply.Reply)
	admitted chan net.Conn
	failed   chan error
}

func (s *Server) admit(l net.Listener, smtps bool, reject func(net.Conn, reply.Reply)) *admission {
	d := &admission{l, s, smtps, reject, make(chan net.Conn), make(chan error)}
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

// receive checks clients as they connect, until the listener closes.
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
	client := d.server.policy.Client(peer(conn))
	access, v := d.server.policy.Connect(client)
	if v.Refused() {
		d.rejectClient(conn, client, v.Reply)
		return
	}
	admitted, r, ok := d.server.sessions.admit(conn, client, access)
	if !ok {
		d.rejectClient(conn, client, r)
		return
	}
	admitted.server, admitted.listener, admitted.smtps = d.server, d.Listener.Addr().String(), d.smtps
	if d.server.sessions.clientHelloWait(admitted.listenerClient(), d.smtps) > 0 {
		go d.deliver(admitted) // it may wait for the client
		return
	}
	d.deliver(admitted)
}

func (d *admission) deliver(admitted *clientConn) {
	d.server.detectTLS(admitted)
	select {
	case d.admitted <- admitted:
	case <-d.server.context.Done():
		_ = admitted.Close()
	}
}

func (d *admission) rejectClient(conn net.Conn, client policy.Client, r reply.Reply) {
	d.server.journal.ClientRefused(client.Address, r)
	d.server.sessions.record(device.Observation{Client: client.Address, MAC: client.MAC, Refused: true, Refusal: r.String()})
	d.reject(conn, r)
}

// rejectWithReply sends the reply and closes the connection, without delaying
// other clients.
func (s *Server) rejectWithReply(conn net.Conn, r reply.Reply) {
	if !s.sessions.rejectSlots.TryAcquire() {
		closeConn(conn, r)
		return
	}
	go func() {
		defer s.sessions.rejectSlots.Release()
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(lingerTime))
		if _, err := io.WriteString(conn, r.String()+"\r\n"); err == nil {
			lingerClose(conn)
		}
	}()
}

func closeConn(conn net.Conn, _ reply.Reply) { _ = conn.Close() }

func peer(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// slots is a counting semaphore.
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
