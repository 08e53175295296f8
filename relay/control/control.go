// Package control is the socket by which other commands look into a running
// relay: HTTP on a Unix socket that only the relay's own user may open.
//
// It knows requests and streams. It must not know mail, or decide anything.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"sealpost/relay/journal"
)

// Journal gives its events to a handler: those it kept, and those to come.
type Journal interface {
	Replay(ctx context.Context, sink slog.Handler) error
	Follow(ctx context.Context, sink slog.Handler) error
}

// Query says which events are wanted, and how.
type Query struct {
	Follow       bool // go on with new events
	Conversation bool // with the SMTP dialogue
	JSON         bool // one object a line
}

// Call does something with a running relay and writes what came of it.
type Call func(ctx context.Context, arguments url.Values, w io.Writer) error

// Server answers on the control socket.
type Server struct {
	http *http.Server
}

// Listen opens the socket at path. One that a relay left behind when it was
// killed is replaced; one that is in use is not.
func Listen(path string) (net.Listener, error) {
	if err := makeWay(path); err != nil {
		return nil, err
	}
	const othersNothing = 0o177
	before := syscall.Umask(othersNothing)
	defer syscall.Umask(before)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w: set control.socket to a shorter or another path", err)
	}
	return listener, nil
}

// makeWay removes a socket that nobody answers on, and nothing else.
func makeWay(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the control socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is not a socket: set control.socket to another path", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("a relay is running already, it answers on %s: stop it first", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("asking who answers on the control socket: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("replacing the control socket: %w", err)
	}
	return nil
}

// New gives a server that looks into j and carries out calls by their names.
func New(j Journal, calls map[string]Call) *Server {
	const request = 10 * time.Second
	mux := http.NewServeMux()
	mux.HandleFunc("GET /journal", func(w http.ResponseWriter, r *http.Request) {
		var query Query
		if err := json.Unmarshal([]byte(r.URL.Query().Get("query")), &query); err != nil {
			http.Error(w, "bad query", http.StatusBadRequest)
			return
		}
		_ = stream(r.Context(), j, query, &flusher{Writer: w, controller: http.NewResponseController(w)})
	})
	for name, call := range calls {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			carryOut(call, w, r)
		})
	}
	return &Server{&http.Server{Handler: mux, ReadHeaderTimeout: request, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}}
}

// carryOut gives the call's error as the answer, as long as nothing else was
// said; later it can only break off.
func carryOut(call Call, w http.ResponseWriter, r *http.Request) {
	out := &flusher{Writer: w, controller: http.NewResponseController(w)}
	err := guarded(func() error { return call(r.Context(), r.URL.Query(), out) })
	switch {
	case err != nil && out.written:
		panic(http.ErrAbortHandler)
	case err != nil:
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
	}
}

// guarded makes a fault of ours an error that its finder can report, where
// net/http would hang up without a word.
func guarded(call func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("a fault in this program, please report it: %v\n%s", fault, debug.Stack())
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

// flusher sends each line on its way at once, and gives up on a reader that
// does not read.
type flusher struct {
	io.Writer
	controller *http.ResponseController
	written    bool
}

func (f *flusher) Write(p []byte) (int, error) {
	const patience = 10 * time.Second
	f.written = true
	_ = f.controller.SetWriteDeadline(time.Now().Add(patience))
	n, err := f.Writer.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.controller.Flush()
}

// Serve answers until Close.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close ends the server and the streams it feeds.
func (s *Server) Close() error { return s.http.Close() }

// ErrNoRelay is wrapped by the error of a request that no relay answers.
var ErrNoRelay = errors.New("no relay answers: start it with: sealpost relay")

// ReadJournal gives the events of the relay that answers on the socket. The
// caller closes the stream.
func ReadJournal(ctx context.Context, socket string, query Query) (io.ReadCloser, error) {
	wanted, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	return ask(ctx, socket, http.MethodGet, "/journal", url.Values{"query": {string(wanted)}})
}

// Do has the relay that answers on the socket carry out a call, and gives what
// it writes. The caller closes the stream.
func Do(ctx context.Context, socket, call string, arguments url.Values) (io.ReadCloser, error) {
	return ask(ctx, socket, http.MethodPost, "/"+call, arguments)
}

func ask(ctx context.Context, socket, method, path string, arguments url.Values) (io.ReadCloser, error) {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://relay"+path+"?"+arguments.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w (on %s: %w)", ErrNoRelay, socket, errors.Unwrap(err))
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	const most = 4096
	words, _ := io.ReadAll(io.LimitReader(response.Body, most))
	return nil, errors.New(strings.TrimSpace(string(words)))
}
