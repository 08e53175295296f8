// Package nbd is the disk of a machine under test: a network block device that
// forgets and fails as flash does.
//
// It knows sectors, faults and the NBD protocol (its "proto.md": fixed
// newstyle negotiation, simple replies). It must not know what is stored on it.
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

// Server gives a flash to NBD clients on a unix socket.
type Server struct {
	Flash    *Flash
	listener net.Listener

	mu      sync.Mutex
	conns   map[net.Conn]chan struct{} // closed when nothing is done for it any more
	closing bool
	serving sync.WaitGroup
}

// negotiationLimit is how long a client may take to say what it wants.
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

// Cut ends every connection and cuts the flash's power. Whoever connects
// afterwards finds what survived.
func (s *Server) Cut() {
	s.mu.Lock()
	ended := slices.Collect(maps.Values(s.conns))
	s.hangUp()
	s.mu.Unlock()
	for _, end := range ended {
		<-end
	}
	s.Flash.Cut()
}

// Close ends the server and every connection.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closing = true
	s.hangUp()
	s.mu.Unlock()
	err := s.listener.Close()
	s.serving.Wait()
	return err
}

func (s *Server) hangUp() {
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
			s.hangUp()
		}
		s.mu.Unlock()
		s.serving.Go(func() { s.serve(conn) })
	}
}

// serve talks to one client. What goes wrong ends that client's connection,
// and is seen there.
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
