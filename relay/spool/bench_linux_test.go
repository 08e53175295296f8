package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// fileFlash is a Flash in a file that was fully written once.
type fileFlash struct {
	*os.File
	size           int64
	bytes, flushes atomic.Int64
}

func (f *fileFlash) Size() int64 { return f.size }

func (f *fileFlash) Flush() error {
	f.flushes.Add(1)
	return syscall.Fdatasync(int(f.Fd()))
}

func (f *fileFlash) WriteAt(p []byte, at int64) (int, error) {
	f.bytes.Add(int64(len(p)))
	return f.File.WriteAt(p, at)
}

func newFileFlash(b *testing.B, size int64) *fileFlash {
	file, err := os.Create(filepath.Join(b.TempDir(), "ring"))
	must(b, err)
	b.Cleanup(func() { _ = file.Close() })
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		_, err := file.WriteAt(zeros, at)
		must(b, err)
	}
	must(b, file.Sync())
	return &fileFlash{File: file, size: size}
}

func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ clients, size int }{{1, 4 << 10}, {20, 4 << 10}, {100, 4 << 10}, {10, 1 << 20}} {
		b.Run(fmt.Sprintf("%dx%d", c.clients, c.size), func(b *testing.B) {
			flash := newFileFlash(b, 256<<20)
			s, _ := mustOpen(b, flash, Limits{})
			body := bytes.Repeat([]byte("m"), c.size)
			flash.bytes.Store(0)
			flash.flushes.Store(0)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wait sync.WaitGroup
			b.SetBytes(int64(c.size))
			b.ResetTimer()
			for client := range c.clients {
				wait.Go(func() {
					for left.Add(-1) >= 0 {
						e, err := s.Create(uint64(client), int64(c.size), []byte("an envelope"))
						if err == nil {
							_, err = e.Write(body)
						}
						var id ID
						if err == nil {
							id, err = e.Commit(context.Background())
						}
						if err == nil {
							err = s.Remove(id)
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
			b.ReportMetric(float64(flash.bytes.Load())/float64(b.N), "flashB/op")
			b.ReportMetric(float64(flash.flushes.Load())/float64(b.N), "flushes/op")
		})
	}
}

// BenchmarkOpen recovers a full ring of small messages and reports its memory
// use.
func BenchmarkOpen(b *testing.B) {
	flash := newFileFlash(b, 1<<30)
	s, _ := mustOpen(b, flash, Limits{})
	body := bytes.Repeat([]byte("m"), 4<<10)
	var full error
	for full == nil {
		full = commitTogether(s, 100, len(body))
	}
	if !errors.Is(full, ErrFull) {
		b.Fatal(full)
	}
	must(b, s.Close())
	for b.Loop() {
		before := heapInUse()
		s, recovery := mustOpen(b, flash, Limits{})
		b.ReportMetric(float64(recovery.Messages), "messages")
		b.ReportMetric(float64(heapInUse()-before)/float64(recovery.Messages), "B/message")
		b.ReportMetric(recovery.Took.Seconds(), "s/recovery")
		must(b, s.Close())
	}
}
