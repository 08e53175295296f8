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

func TestAsManyCommitsAreExpectedAsCameTogetherBefore(t *testing.T) {
	for _, c := range []struct {
		name     string
		company  groupCommit
		groups   []int
		expected []int // after each group
	}{
		{"one client", groupCommit{expected: 1}, []int{1, 1, 1}, []int{1, 1, 1}},
		{"two clients", groupCommit{expected: 1}, []int{2, 1, 2}, []int{1, 1, 1}},
		{"a crowd comes", groupCommit{expected: 1}, []int{3, 3, 5, 4, 5}, []int{2, 3, 4, 5, 6}},
		{"one fails to come", groupCommit{expected: 6}, []int{5, 5, 40, 5, 6}, []int{5, 5, 5, 6, 7}},
		{"the crowd goes", groupCommit{expected: 20}, []int{1, 1, 1, 1, 1, 1, 1, 1}, []int{15, 11, 8, 6, 4, 3, 2, 1}},
		{"more than anybody waits for", groupCommit{expected: groupMost}, []int{groupMost, 90}, []int{groupMost, groupMost}},
	} {
		var got []int
		for _, commits := range c.groups {
			c.company.observe(commits)
			got = append(got, c.company.expected)
		}
		if !slices.Equal(got, c.expected) {
			t.Errorf("%s: %v commits made %v expected, not %v", c.name, c.groups, got, c.expected)
		}
	}
}

// inTurn lets clients commit one message after the other, each with a pause
// before it.
func inTurn(t *testing.T, s *Spool, clients, each int, pause func(client int) time.Duration) {
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

func TestOneOrTwoClientsNeverWaitForCompany(t *testing.T) {
	for clients := 1; clients <= 2; clients++ {
		synctest.Test(t, func(t *testing.T) {
			s, _ := mustOpen(t, slow{simflash.New(64<<20, 1)}, Limits{})
			began := time.Now()
			inTurn(t, s, clients, 100, func(client int) time.Duration { return time.Duration(3+client) * time.Millisecond })
			// Each commit takes a flush of its own, or waits for one under way.
			if took := time.Since(began); took > 100*(time.Duration(2+clients)+2)*time.Millisecond {
				t.Errorf("%d clients took %v", clients, took)
			}
			must(t, s.Close())
		})
	}
}

// brisk takes no longer for a flush than a fast disk, so that few gather
// unless somebody waits.
type brisk struct {
	hal.Flash
}

func (f brisk) Flush() error {
	time.Sleep(150 * time.Microsecond)
	return f.Flash.Flush()
}

func TestManyClientsShareTheirFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flash := simflash.New(64<<20, 1)
		s, _ := mustOpen(t, brisk{flash}, Limits{})
		must(t, sameBatch(s, 20, 4096))
		before := flash.Counts().Flushes
		inTurn(t, s, 20, 50, func(client int) time.Duration { return time.Duration(2000+100*client) * time.Microsecond })
		if each := float64(flash.Counts().Flushes-before) / (20 * 50); each > 0.4 {
			t.Errorf("%.2f flushes a message", each)
		}
		must(t, s.Close())
	})
}

func TestManyRemovalsDoNotWaitForTheSlowest(t *testing.T) {
	for removals, durable := range map[int]bool{LazyRemovals - 1: false, LazyRemovals: true} {
		t.Run(fmt.Sprint(removals), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				flash, w := simflash.New(testRing, 1), newWorld()
				s, _ := mustOpen(t, flash, Limits{})
				for range removals {
					_, err := w.commit(s, 1, 10)
					must(t, err)
				}
				for name := range w.answered {
					must(t, w.remove(s, name))
				}
				synctest.Wait()
				for after := range flash.PowerCut(1) {
					again, recovery := mustOpen(t, after, Limits{})
					if (recovery.Messages == 0) != durable {
						t.Errorf("%d messages came back", recovery.Messages)
					}
					must(t, errors.Join(w.check(again, ""), again.Close()))
				}
				_ = s.Close()
			})
		})
	}
}
