// Package nbd is the disk of a machine under test: a network block device that
// loses writes and fails like flash.
//
// It knows sectors, faults and the NBD protocol ("proto.md": fixed newstyle
// negotiation, simple replies). It must not know the stored data.
package nbd

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// Server serves a flash to NBD clients on a unix socket.
type Server struct {
	Flash    *Flash
	listener net.Listener

	mu      sync.Mutex
	conns   map[net.Conn]chan struct{} // closed when the connection has ended
	closing bool
	serving sync.WaitGroup
}

// negotiationLimit limits the negotiation with a client.
const negotiationLimit = 10 * time.Second

// Serve listens on a unix socket at path, until Close.
func Serve(flash *Flash, path string) (*Server, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listening for NBD clients: %w", err)
	}
	s := &Server{Flash: flash, listener: listener, conns: map[net.Conn]chan struct{}{}}
	s.serving.Go(s.accept)
	return s, nil
}

// Address is the path of the socket.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Cut closes every connection and cuts the flash's power. Later clients read what
// survived.
func (s *Server) Cut() {
	s.mu.Lock()
	ended := slices.Collect(maps.Values(s.conns))
	s.closeConns()
	s.mu.Unlock()
	for _, end := range ended {
		<-end
	}
	s.Flash.Cut()
}

// Close stops the server and closes every connection.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	s.closeConns()
	s.mu.Unlock()
	err := s.listener.Close()
	s.serving.Wait()
	return err
}

func (s *Server) closeConns() {
	for conn := range s.conns {
		_ = conn.Close()
	}
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = make(chan struct{})
		if s.closing {
			s.closeConns()
		}
		s.mu.Unlock()
		s.serving.Go(func() { s.serve(conn) })
	}
}

// serve serves one client. An error closes that client's connection.
func (s *Server) serve(conn net.Conn) {
	defer s.forget(conn)
	_ = conn.SetDeadline(time.Now().Add(negotiationLimit))
	if err := negotiate(conn, s.Flash.Size()); err != nil {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	for {
		if err := transmit(conn, s.Flash); err != nil {
			return
		}
	}
}

func (s *Server) forget(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.conns[conn])
	delete(s.conns, conn)
}

var errEnd = errors.New("the client has ended the connection")
