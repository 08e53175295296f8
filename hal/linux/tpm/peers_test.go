package tpm_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"sealpost/hal"
	"sealpost/tests/rigs/parts"
)

// wantFault checks the state in a TPM fault; an empty state accepts any.
func wantFault(t *testing.T, err error, state hal.TPMState) {
	t.Helper()
	fault, ok := errors.AsType[*hal.TPMFault](err)
	if !ok || state != "" && fault.State != state {
		t.Fatalf("error %v, want a TPM fault in state %q", err, state)
	}
	if advice := fault.State.Advice(); !strings.Contains(err.Error(), advice) {
		t.Errorf("got error %q, want the advice %q", err, advice)
	}
}

// serve starts a server that calls handle for each connection, and returns its
// address.
func serve(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	ended := make(chan struct{})
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				handle(conn)
			})
			serving.Go(func() {
				<-ended
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		close(ended)
		_ = listener.Close()
		serving.Wait()
	})
	return "tcp:" + listener.Addr().String()
}

// readMessage reads one TPM command or response.
func readMessage(r io.Reader) ([]byte, error) {
	header := make([]byte, 10)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	message := append(header, make([]byte, binary.BigEndian.Uint32(header[2:6])-10)...)
	_, err := io.ReadFull(r, message[10:])
	return message, err
}

// interpose starts a proxy for a software TPM and returns its address. edit gets each
// command and response, and returns the response to forward.
func interpose(t *testing.T, swtpm *parts.Swtpm, edit func(command, response []byte) []byte) string {
	t.Helper()
	network, target, _ := strings.Cut(swtpm.Address(), ":")
	return serve(t, func(client net.Conn) {
		chip, err := net.Dial(network, target)
		if err != nil {
			return
		}
		defer chip.Close()
		_ = chip.SetDeadline(time.Now().Add(20 * time.Second))
		for {
			command, err := readMessage(client)
			if err != nil {
				return
			}
			if _, err := chip.Write(command); err != nil {
				return
			}
			response, err := readMessage(chip)
			if err != nil {
				return
			}
			if _, err := client.Write(edit(command, response)); err != nil {
				return
			}
		}
	})
}

// wiretap starts a proxy for a software TPM that records commands and responses.
func wiretap(t *testing.T, swtpm *parts.Swtpm) (address string, seen func() []byte) {
	t.Helper()
	var mu sync.Mutex
	var bus bytes.Buffer
	address = interpose(t, swtpm, func(command, response []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		bus.Write(command)
		bus.Write(response)
		return response
	})
	return address, func() []byte {
		mu.Lock()
		defer mu.Unlock()
		return bytes.Clone(bus.Bytes())
	}
}

// substitute starts a proxy for a software TPM that replaces bytes in its responses.
func substitute(t *testing.T, swtpm *parts.Swtpm, old, new []byte) string {
	t.Helper()
	if len(old) != len(new) {
		t.Fatalf("replacing %d bytes with %d", len(old), len(new))
	}
	return interpose(t, swtpm, func(_, response []byte) []byte { return bytes.ReplaceAll(response, old, new) })
}
