package spool

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sealpost/hal"
	"sealpost/hal/simflash"
)

func TestGroupCommit_AdaptsTheExpectedCommits(t *testing.T) {
	for _, c := range []struct {
		name     string
		estimate groupCommit
		groups   []int
		expected []int // after each group
	}{
		{"one client", groupCommit{expected: 1}, []int{1, 1, 1}, []int{1, 1, 1}},
		{"two clients", groupCommit{expected: 1}, []int{2, 1, 2}, []int{1, 1, 1}},
		{"more clients come", groupCommit{expected: 1}, []int{3, 3, 5, 4, 5}, []int{2, 3, 4, 5, 6}},
		{"one client is late", groupCommit{expected: 6}, []int{5, 5, 40, 5, 6}, []int{5, 5, 5, 6, 7}},
		{"the clients leave", groupCommit{expected: 20}, []int{1, 1, 1, 1, 1, 1, 1, 1}, []int{15, 11, 8, 6, 4, 3, 2, 1}},
		{"maximum", groupCommit{expected: maxGroup}, []int{maxGroup, 90}, []int{maxGroup, maxGroup}},
	} {
		var got []int
		for _, commits := range c.groups {
			c.estimate.observe(commits)
			got = append(got, c.estimate.expected)
		}
		if !slices.Equal(got, c.expected) {
			t.Errorf("%s: after groups of %v: got %v expected, want %v", c.name, c.groups, got, c.expected)
		}
	}
}

// commitInTurn makes each client commit messages one after the other, each
// after a pause.
func commitInTurn(t *testing.T, s *Spool, clients, each int, pause func(client int) time.Duration) {
	var wait sync.WaitGroup
	for client := range clients {
		wait.Go(func() {
			for range each {
				time.Sleep(pause(client))
				if err := commitOne(s, uint64(client), make([]byte, 4096)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

func TestGroupCommit_DelaysNeitherOneNorTwoClients(t *testing.T) {
	for clients := 1; clients <= 2; clients++ {
		synctest.Test(t, func(t *testing.T) {
			s, _ := mustOpen(t, slowFlash{simflash.New(64<<20, 1)}, Limits{})
			began := time.Now()
			commitInTurn(t, s, clients, 100, func(client int) time.Duration { return time.Duration(3+client) * time.Millisecond })
			// Each commit takes one flush, or waits for the current one first.
			atMost := 100 * (time.Duration(2+clients) + 2) * time.Millisecond
			if took := time.Since(began); took > atMost {
				t.Errorf("%d clients: got %v, want at most %v", clients, took, atMost)
			}
			must(t, s.Close())
		})
	}
}

// fastFlash flushes as fast as a fast disk, so that few commits gather unless
// the writer waits.
type fastFlash struct {
	hal.Flash
}

func (f fastFlash) Flush() error {
	time.Sleep(150 * time.Microsecond)
	return f.Flash.Flush()
}

func TestGroupCommit_SharesFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flash := simflash.New(64<<20, 1)
		s, _ := mustOpen(t, fastFlash{flash}, Limits{})
		must(t, commitTogether(s, 20, 4096))
		before := flash.Counts().Flushes
		commitInTurn(t, s, 20, 50, func(client int) time.Duration { return time.Duration(2000+100*client) * time.Microsecond })
		if each := float64(flash.Counts().Flushes-before) / (20 * 50); each > 0.4 {
			t.Errorf("got %.2f flushes per message, want at most 0.4", each)
		}
		must(t, s.Close())
	})
}

func TestRemove_IsFlushedAfterLazyRemovals(t *testing.T) {
	for removals, durable := range map[int]bool{LazyRemovals - 1: false, LazyRemovals: true} {
		t.Run(fmt.Sprint(removals), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				flash, w := simflash.New(testRing, 1), newModel()
				s, _ := mustOpen(t, flash, Limits{})
				for range removals {
					_, err := w.commit(s, 1, 10)
					must(t, err)
				}
				for name := range w.committed {
					must(t, w.remove(s, name))
				}
				synctest.Wait()
				for after := range flash.PowerCut(1) {
					reopened, recovery := mustOpen(t, after, Limits{})
					if got := recovery.Messages == 0; got != durable {
						t.Errorf("%d removals: got durable %t after the power cut, want %t", removals, got, durable)
					}
					must(t, errors.Join(w.check(reopened, ""), reopened.Close()))
				}
				_ = s.Close()
			})
		})
	}
}
