package led

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPatterns_MatchTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("../../../docs/lamp.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	for _, p := range Patterns {
		rows.WriteString("| " + p.Looks + " | " + p.Means + " |\n")
	}
	if want := "|---|---|\n" + rows.String() + "\n"; !strings.Contains(string(page), want) {
		t.Errorf("docs/lamp.md should have the table\n%s", want)
	}
}

func TestPatternFor_ShowsTheMostUrgentConditionFirst(t *testing.T) {
	everything := Condition{ButtonHeld: true, Stick: StickRefused, Factory: true, Starting: true, Unhealthy: true}
	for _, step := range []struct {
		want *Pattern
		then func(*Condition)
	}{
		{Resetting, func(c *Condition) { c.ButtonHeld = false }},
		{StickRefused, func(c *Condition) { c.Stick = nil }},
		{Unhealthy, func(c *Condition) { c.Unhealthy = false }},
		{Factory, func(c *Condition) { c.Factory = false }},
		{Starting, func(c *Condition) { c.Starting = false }},
		{Healthy, func(*Condition) {}},
	} {
		if got := PatternFor(everything); got != step.want {
			t.Errorf("%+v: got %q, want %q", everything, got.Means, step.want.Means)
		}
		step.then(&everything)
	}
}

func TestPatterns_BlinkDifferently(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Patterns {
		var shape strings.Builder
		for _, step := range p.steps {
			shape.WriteString(step.String() + " ")
		}
		if seen[shape.String()] || (p != Healthy && len(p.steps)%2 != 0) {
			t.Errorf("%s: got steps %s, want an even number that no other pattern has", p.Looks, shape.String())
		}
		seen[shape.String()] = true
	}
}

func TestResetting_BlinksFasterForTenSeconds(t *testing.T) {
	whole := time.Duration(0)
	for i, step := range Resetting.steps {
		whole += step
		if i > 0 && step > Resetting.steps[i-1] {
			t.Errorf("step %d is slower than the one before", i)
		}
	}
	if whole < 10*time.Second || whole > 11*time.Second {
		t.Errorf("got %s of blinking, want about 10 s", whole)
	}
}

func TestLamp_ShowsThePatternOnADeviceThatAppearsLate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "green", "brightness")
	mustShow := func(want string) {
		t.Helper()
		if text, err := os.ReadFile(file); err != nil || string(text) != want {
			t.Errorf("got brightness %q, %v, want %q", text, err, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		lamp := New(filepath.Join(dir, "*", "brightness"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go lamp.Run(ctx)
		lamp.Show(ctx, Factory)
		if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		mustShow("0")
		time.Sleep(time.Second)
		synctest.Wait()
		mustShow("255")
		lamp.Show(ctx, Healthy)
		for range 5 {
			time.Sleep(time.Second)
			synctest.Wait()
			mustShow("255")
		}
	})
}
