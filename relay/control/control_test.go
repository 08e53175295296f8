package control

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"sealpost/relay/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var calls = map[string]Call{
	"say": func(_ context.Context, arguments url.Values, w io.Writer) error {
		_, err := io.WriteString(w, arguments.Get("words"))
		return err
	},
	"refuse": func(context.Context, url.Values, io.Writer) error { return errors.New("there is no such message") },
	"break": func(_ context.Context, _ url.Values, w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return errors.New("gone")
	},
}

func TestACallsWordsAndItsErrorsComeBack(t *testing.T) {
	socket := serve(t, journal.Discard())
	stream, err := Do(context.Background(), socket, "say", url.Values{"words": {"a b&c"}})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if words, err := io.ReadAll(stream); string(words) != "a b&c" || err != nil {
		t.Errorf("got %q, %v", words, err)
	}
	if _, err := Do(context.Background(), socket, "refuse", nil); err == nil || err.Error() != "there is no such message" {
		t.Errorf("got %v", err)
	}
	if _, err := Do(context.Background(), socket+"x", "say", nil); !errors.Is(err, ErrNoRelay) {
		t.Errorf("got %v", err)
	}
}

func TestACallThatBreaksOffIsNotTakenForWhole(t *testing.T) {
	stream, err := Do(context.Background(), serve(t, journal.Discard()), "break", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if words, err := io.ReadAll(stream); err == nil {
		t.Errorf("%q passed for the whole", words)
	}
}

func serve(t *testing.T, j *journal.Journal) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := New(j, calls)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = server.Close(); serving.Wait() })
	return socket
}

func TestARunningRelaysJournalCanBeFollowed(t *testing.T) {
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
			t.Errorf("read %q, want %q", lines.Text(), want)
		}
		j.Started("after", "connector")
	}
}

func TestTheConversationIsShownWhenAskedFor(t *testing.T) {
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
			t.Errorf("%+v: read %q", query, lines.Text())
		}
		_ = stream.Close()
	}
}

func TestASocketInUseIsLeftAloneAndADeadOneReplaced(t *testing.T) {
	socket := serve(t, journal.Discard())
	if _, err := Listen(socket); err == nil || !strings.Contains(err.Error(), "running already") {
		t.Errorf("a second relay: %v", err)
	}
	dead := filepath.Join(t.TempDir(), "dead")
	left, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = left.Close()
	listener, err := Listen(dead)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if info, _ := os.Stat(dead); info.Mode().Perm() != 0o600 {
		t.Errorf("the socket's mode is %v", info.Mode())
	}
}

func TestAFileAtTheSocketsPathIsNotTouched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "box.state")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

func TestWithoutARelayTheWordsSayHowToStartIt(t *testing.T) {
	_, err := ReadJournal(context.Background(), filepath.Join(t.TempDir(), "none"), Query{})
	if err == nil || !strings.Contains(err.Error(), "start it with: sealpost relay") {
		t.Errorf("got %v", err)
	}
}
