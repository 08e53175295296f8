package lan

import (
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
	dress    func(*clientConn) net.Conn // in TLS, where it begins with that
}

// Accept waits for the next client that may come in.
func (d *doorman) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := peer(conn)
		if !d.server.policy.MayRelay(client) {
			d.refuse(conn, client, reply.New(554, 7, 1, "%s does not relay for %s: add its network to lan.allow", d.server.config.Hostname, client.Unmap()))
			continue
		}
		admitted, answer, ok := d.server.sessions.admit(conn, client)
		if !ok {
			d.refuse(conn, client, answer)
			continue
		}
		return d.dress(admitted), nil
	}
}

func (d *doorman) refuse(conn net.Conn, client netip.Addr, answer reply.Reply) {
	d.server.journal.ClientRefused(client, answer)
	d.turnAway(conn, answer)
}

// partingTime is how long a client that is turned away may take to read why.
const partingTime = time.Second

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
		if _, err := io.WriteString(conn, answer.String()+"\r\n"); err != nil {
			return
		}
		// Unread input at the close would make the kernel take our words back.
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		_, _ = io.CopyN(io.Discard, conn, 64<<10)
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
