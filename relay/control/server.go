// Package control is the control socket of a running relay or PID 1: HTTP on a
// Unix socket that only its own user may open.
//
// Requests and responses are typed on both sides; [Relay] is the interface of a
// relay. The package carries calls and decides nothing: it must not know how a
// relay or a machine works.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"sealpost/hal/fault"
	"sealpost/relay/journal"
)

// Journal passes its events to a handler: past ones, and future ones.
type Journal interface {
	Replay(ctx context.Context, sink slog.Handler) error
	Follow(ctx context.Context, sink slog.Handler) error
}

const pathJournal = "journal"

// Limits of a request: its size in bytes, and the time to receive it.
const (
	maxRequest     = 64 << 10
	requestTimeout = 10 * time.Second
)

// Server serves the control socket.
type Server struct {
	http *http.Server
	mux  *http.ServeMux
}

// Listen opens the socket at path. A stale socket is replaced; one in use is
// not.
func Listen(path string) (net.Listener, error) {
	if err := removeStaleSocket(path); err != nil {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w: set control.socket to a shorter or another path", err)
	}
	// The usual umask excludes others even before this. Setting it here would affect
	// files that other goroutines create.
	const ownerOnly = 0o600
	if err := os.Chmod(path, ownerOnly); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the control socket: %w", err), listener.Close())
	}
	return listener, nil
}

// removeStaleSocket removes a socket on which no process listens.
func removeStaleSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("checking the control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket: set control.socket to another path", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("another process already listens on %s: stop it first, or set control.socket to another path", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("connecting to the control socket: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("replacing the control socket: %w", err)
	}
	return nil
}

// New returns a server that serves the events of j. [Handle] and [HandleStream]
// add calls.
func New(j Journal) *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /"+pathJournal, func(w http.ResponseWriter, r *http.Request) {
		var query Query
		if err := read(w, r, &query); err != nil {
			reject(w, err)
			return
		}
		_ = stream(r.Context(), j, query, newFlusher(w))
	})
	return &Server{mux: mux, http: &http.Server{Handler: mux, ReadHeaderTimeout: requestTimeout, IdleTimeout: requestTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}}
}

// Handle registers the function that carries out a call.
func Handle[Request, Response any](s *Server, call Call[Request, Response], do func(context.Context, Request) (Response, error)) {
	s.handle(string(call), func() any { return new(Request) }, func(ctx context.Context, request any, send func(any) error) error {
		response, err := do(ctx, *request.(*Request))
		if err != nil {
			return err
		}
		return send(response)
	})
}

// HandleStream registers a function that returns many values. An error before
// the first value is the response; a later one cuts the response off.
func HandleStream[Request, Response any](s *Server, call Call[Request, Response], do func(context.Context, Request) iter.Seq2[Response, error]) {
	s.handle(string(call), func() any { return new(Request) }, func(ctx context.Context, request any, send func(any) error) error {
		for value, err := range do(ctx, *request.(*Request)) {
			if err == nil {
				err = send(value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// handle registers do for a call whose request is decoded into the result of
// newRequest. It has no type parameters, so that its code is compiled once and not for
// every call.
func (s *Server) handle(name string, newRequest func() any, do func(ctx context.Context, request any, send func(any) error) error) {
	s.mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
		request := newRequest()
		if err := read(w, r, request); err != nil {
			reject(w, err)
			return
		}
		out := newFlusher(w)
		err := recoverPanic(func() error { return do(r.Context(), request, json.NewEncoder(out).Encode) })
		switch {
		case err != nil && out.written:
			panic(http.ErrAbortHandler)
		case err != nil:
			reject(w, err)
		}
	})
}

// read reads the whole request: net/http detects a disconnected client only
// then.
func read(w http.ResponseWriter, r *http.Request, request any) error {
	controller := http.NewResponseController(w)
	_ = controller.SetReadDeadline(time.Now().Add(requestTimeout))
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err == nil {
		err = json.Unmarshal(text, request)
	}
	if err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	return controller.SetReadDeadline(time.Time{})
}

// reject responds with an error; its fault codes reach the client.
func reject(w http.ResponseWriter, err error) {
	w.WriteHeader(http.StatusUnprocessableEntity)
	_, _ = w.Write(fault.Encode(err))
}

// recoverPanic turns a panic into an error for the caller; net/http would close
// the connection silently.
func recoverPanic(call func() error) (err error) {
	defer func() {
		if bug := recover(); bug != nil {
			err = fmt.Errorf("internal error, please report it: %v\n%s", bug, debug.Stack())
		}
	}()
	return call()
}

func stream(ctx context.Context, j Journal, query Query, w io.Writer) error {
	sink := journal.Text(w, query.Conversation)
	if query.JSON {
		sink = journal.JSON(w, query.Conversation)
	}
	if query.Follow {
		return j.Follow(ctx, sink)
	}
	return j.Replay(ctx, sink)
}

// flusher sends each line at once, and gives up on a client that does not read.
type flusher struct {
	io.Writer
	controller *http.ResponseController
	written    bool
}

func newFlusher(w http.ResponseWriter) *flusher {
	return &flusher{Writer: w, controller: http.NewResponseController(w)}
}

func (f *flusher) Write(p []byte) (int, error) {
	const timeout = 10 * time.Second
	f.written = true
	_ = f.controller.SetWriteDeadline(time.Now().Add(timeout))
	n, err := f.Writer.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.controller.Flush()
}

// Serve serves until Close.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends the server and its streams.
func (s *Server) Close() error { return s.http.Close() }
