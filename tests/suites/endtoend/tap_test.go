package endtoend

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/tests/rigs/parts"
)

// tap is a way to a TPM on which it is seen what is asked of it.
type tap struct {
	listener net.Listener
	tpm      string // the TPM's socket

	mu       sync.Mutex
	commands map[uint32]int // by their codes
	open     chan struct{}  // closed while commands flow
	stalled  chan struct{}  // closed once one had to wait
}

// signs is TPM2_Sign, and TPM2_RSA_Decrypt, by which a raw signature is made
// (TPM 2.0 part 2, 6.5.2).
var signs = []uint32{0x15d, 0x159}

func startTap(t *testing.T, tpm *parts.Swtpm) *tap {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(folder(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{listener: listener, tpm: strings.TrimPrefix(tpm.Address(), "unix:"), commands: map[uint32]int{},
		open: make(chan struct{}), stalled: make(chan struct{})}
	close(p.open)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.flow()
		serving.Wait()
	})
	return p
}

// address names the TPM behind the tap the way the settings do.
func (p *tap) address() string { return "unix:" + p.listener.Addr().String() }

// serve carries commands to the TPM, and its answers back.
func (p *tap) serve(box net.Conn) {
	defer box.Close()
	tpm, err := net.Dial("unix", p.tpm)
	if err != nil {
		return
	}
	defer tpm.Close()
	go func() {
		_, _ = io.Copy(box, tpm)
		_ = box.Close()
	}()
	const header, most = 10, 4096
	command := make([]byte, most)
	for {
		if _, err := io.ReadFull(box, command[:header]); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(command[2:])
		if size < header || size > most {
			return
		}
		if _, err := io.ReadFull(box, command[header:size]); err != nil {
			return
		}
		p.pass(binary.BigEndian.Uint32(command[6:]))
		// swtpm takes what it reads at once for the whole command.
		if _, err := tpm.Write(command[:size]); err != nil {
			return
		}
	}
}

// pass counts a command, and holds it up while none may flow.
func (p *tap) pass(code uint32) {
	p.mu.Lock()
	p.commands[code]++
	open := p.open
	select {
	case <-open:
	default:
		select {
		case <-p.stalled:
		default:
			close(p.stalled)
		}
	}
	p.mu.Unlock()
	<-open
}

// stall holds up what is asked of the TPM from now on.
func (p *tap) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// flow lets pass what was held up, and all that follows.
func (p *tap) flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// awaitStalled waits until something was held up.
func (p *tap) awaitStalled(t *testing.T) {
	t.Helper()
	const timeout = 20 * time.Second
	select {
	case <-p.stalled:
	case <-time.After(timeout):
		t.Fatal("the TPM was asked for nothing")
	}
}

// signatures is how many were asked for so far.
func (p *tap) signatures() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, code := range signs {
		n += p.commands[code]
	}
	return n
}
