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

// tpmProxy forwards commands to a TPM. It counts them and can delay them.
type tpmProxy struct {
	listener net.Listener
	tpm      string // the TPM's socket

	mu       sync.Mutex
	commands map[uint32]int // counted by command code
	open     chan struct{}  // closed while commands are forwarded
	stalled  chan struct{}  // closed when the first command is delayed
}

// signCommands are TPM2_Sign and TPM2_RSA_Decrypt, which makes a raw RSA signature
// (TPM 2.0 part 2, section 6.5.2).
var signCommands = []uint32{0x15d, 0x159}

func startTPMProxy(t *testing.T, tpm *parts.Swtpm) *tpmProxy {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(folder(t), "s"))
	if err != nil {
		t.Fatal(err)
	}
	p := &tpmProxy{listener: listener, tpm: strings.TrimPrefix(tpm.Address(), "unix:"), commands: map[uint32]int{},
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
		p.resume()
		serving.Wait()
	})
	return p
}

// address returns the proxy's address as in the keys.tpm setting.
func (p *tpmProxy) address() string { return "unix:" + p.listener.Addr().String() }

// serve forwards commands to the TPM, and its responses back.
func (p *tpmProxy) serve(box net.Conn) {
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
	const header, maxSize = 10, 4096
	command := make([]byte, maxSize)
	for {
		if _, err := io.ReadFull(box, command[:header]); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(command[2:])
		if size < header || size > maxSize {
			return
		}
		if _, err := io.ReadFull(box, command[header:size]); err != nil {
			return
		}
		p.forward(binary.BigEndian.Uint32(command[6:]))
		// swtpm expects a command in a single write.
		if _, err := tpm.Write(command[:size]); err != nil {
			return
		}
	}
}

// forward counts a command, and waits while the proxy is stalled.
func (p *tpmProxy) forward(code uint32) {
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

// stall delays all further commands until resume.
func (p *tpmProxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// resume forwards the delayed commands and all further ones.
func (p *tpmProxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// awaitStalled waits until a command is delayed.
func (p *tpmProxy) awaitStalled(t *testing.T) {
	t.Helper()
	const timeout = time.Minute
	select {
	case <-p.stalled:
	case <-time.After(timeout):
		t.Fatal("the relay sent no command to the TPM")
	}
}

// signatures returns the number of signatures requested so far.
func (p *tpmProxy) signatures() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, code := range signCommands {
		n += p.commands[code]
	}
	return n
}
