package control

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"sealpost/hal/fault"
	"sealpost/relay/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The calls of the test server.
const (
	echo    Call[string, string] = "echo"
	refuse  Call[None, None]     = "refuse"
	breaks  Call[None, int]      = "break"
	endless Call[None, string]   = "endless"
)

var errRefused = fault.New(fault.NoState, "there is no such message")

func TestCall_ReturnsTheResponseAndFaultCode(t *testing.T) {
	socket := serve(t, journal.Discard())
	if response, err := echo.Do(t.Context(), socket, "a b&c"); response != "a b&c" || err != nil {
		t.Errorf("got %q, %v", response, err)
	}
	if _, err := refuse.Do(t.Context(), socket, None{}); err == nil || err.Error() != "X1: there is no such message" || !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	if _, err := echo.Do(t.Context(), socket+"x", "a"); !errors.Is(err, ErrNoRelay) {
		t.Errorf("got %v, want %v", err, ErrNoRelay)
	}
}

func TestStream_FailsWhenCutOff(t *testing.T) {
	var got []int
	var failed error
	for value, err := range breaks.Stream(t.Context(), serve(t, journal.Discard()), None{}) {
		if failed = err; err == nil {
			got = append(got, value)
		}
	}
	if len(got) != 2 || failed == nil {
		t.Errorf("got %v, %v, want 2 values and an error", got, failed)
	}
}

func TestCall_LimitsAnEndlessResponse(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var written atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for piece := []byte(`"`); ; piece = bytes.Repeat([]byte("x"), 64<<10) {
			n, err := w.Write(piece)
			if written.Add(int64(n)) > 4*maxReply || err != nil {
				return
			}
		}
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	_, callErr := endless.Do(t.Context(), socket, None{})
	var streamErr error
	for _, err := range endless.Stream(t.Context(), socket, None{}) {
		streamErr = err
	}
	_ = server.Close()
	serving.Wait()
	if callErr == nil || streamErr == nil || written.Load() > 4*maxReply {
		t.Errorf("got %d bytes written, errors %v and %v, want at most %d and two errors", written.Load(), callErr, streamErr, 4*maxReply)
	}
}

func serve(t *testing.T, j *journal.Journal) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := New(j)
	Handle(server, echo, func(_ context.Context, text string) (string, error) { return text, nil })
	Handle(server, refuse, func(context.Context, None) (None, error) { return None{}, fmt.Errorf("X1: %w", errRefused) })
	HandleStream(server, breaks, func(context.Context, None) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			_ = yield(1, nil) && yield(2, nil) && yield(0, errors.New("gone"))
		}
	})
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	return socket
}

func TestReadJournal_FollowsNewEvents(t *testing.T) {
	j := journal.Discard()
	socket := serve(t, j)
	j.Started("before", "connector")
	j.Conversation("C1").Sent("EHLO relay")
	stream, err := ReadJournal(context.Background(), socket, Query{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	for _, want := range []string{"version=before", "version=after"} {
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			t.Errorf("got %q, want %q", lines.Text(), want)
		}
		j.Started("after", "connector")
	}
}

func TestReadJournal_ShowsTheConversationOnRequest(t *testing.T) {
	j := journal.Discard()
	socket := serve(t, j)
	j.Conversation("C1").Sent("EHLO relay")
	for _, query := range []Query{{}, {Conversation: true}, {Conversation: true, JSON: true}} {
		stream, err := ReadJournal(context.Background(), socket, query)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stream)
		shown := lines.Scan() && strings.Contains(lines.Text(), "EHLO relay")
		if shown != query.Conversation || shown && strings.HasPrefix(lines.Text(), "{") != query.JSON {
			t.Errorf("%+v: got %q", query, lines.Text())
		}
		_ = stream.Close()
	}
}

func TestListen_ReplacesOnlyAStaleSocket(t *testing.T) {
	socket := serve(t, journal.Discard())
	if _, err := Listen(socket); err == nil || !strings.Contains(err.Error(), "already listens") {
		t.Errorf("second relay: got %v, want an error with %q", err, "already listens")
	}
	dead := filepath.Join(t.TempDir(), "dead")
	stale, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = stale.Close()
	listener, err := Listen(dead)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if info, _ := os.Stat(dead); info.Mode().Perm() != 0o600 {
		t.Errorf("got socket mode %v, want 0600", info.Mode())
	}
}

func TestListen_LeavesAnotherFileAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box.state")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("got %v, want an error with %q", err, "is not a socket")
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("got file %q, %v", text, err)
	}
}

func TestReadJournal_ReturnsErrNoRelay(t *testing.T) {
	_, err := ReadJournal(context.Background(), filepath.Join(t.TempDir(), "none"), Query{})
	if !errors.Is(err, ErrNoRelay) {
		t.Errorf("got %v, want %v", err, ErrNoRelay)
	}
}
