package led

import "time"

// Pattern is a sequence of the lamp with a meaning.
type Pattern struct {
	Means string // the state of the box
	Looks string // how a person would describe it
	// steps are the durations for which the lamp is on and off in turn, repeatedly.
	steps []time.Duration
}

// The patterns.
var (
	Starting = &Pattern{"the box is starting", "fast blinking, three times a second",
		[]time.Duration{150 * ms, 150 * ms}}
	Factory = &Pattern{"the box has not been set up", "slow blinking, once in two seconds",
		[]time.Duration{time.Second, time.Second}}
	Healthy = &Pattern{"mail is being delivered", "on",
		[]time.Duration{time.Second}}
	Unhealthy = &Pattern{"mail is held back, or the box has a fault", "two short flashes, then a pause",
		[]time.Duration{150 * ms, 200 * ms, 150 * ms, 1500 * ms}}
	StickWorking = &Pattern{"a stick is being read", "flickering",
		[]time.Duration{60 * ms, 60 * ms}}
	StickDone = &Pattern{"done: pull the stick out", "three long flashes, then a pause",
		[]time.Duration{600 * ms, 300 * ms, 600 * ms, 300 * ms, 600 * ms, 1200 * ms}}
	StickRefused = &Pattern{"the stick was rejected; nothing was changed", "five short flashes, then a pause, until the stick is pulled out",
		[]time.Duration{150 * ms, 200 * ms, 150 * ms, 200 * ms, 150 * ms, 200 * ms, 150 * ms, 200 * ms, 150 * ms, 1200 * ms}}
	Resetting = &Pattern{"the reset button is held; after 10 seconds everything is erased", "blinking faster and faster",
		faster()}
)

// Patterns lists all patterns in the order of the documentation.
var Patterns = []*Pattern{Starting, Factory, Healthy, Unhealthy, StickWorking, StickDone, StickRefused, Resetting}

const ms = time.Millisecond

// faster is 10 s of blinking that speeds up from 1 s to 60 ms.
func faster() []time.Duration {
	var steps []time.Duration
	const whole, slowest, fastest = 10 * time.Second, 500 * ms, 30 * ms
	for done := time.Duration(0); done < whole; {
		step := slowest - (slowest-fastest)*(done/ms)/(whole/ms)
		steps = append(steps, step, step)
		done += 2 * step
	}
	return steps
}

// Condition is the state of the box to show.
type Condition struct {
	ButtonHeld bool
	Stick      *Pattern // nil, or one of the stick's three
	Factory    bool
	Starting   bool
	Unhealthy  bool // or mail is held
}

// PatternFor returns the pattern for a condition; the button and the stick come
// first.
func PatternFor(c Condition) *Pattern {
	switch {
	case c.ButtonHeld:
		return Resetting
	case c.Stick != nil:
		return c.Stick
	case c.Unhealthy:
		return Unhealthy
	case c.Factory:
		return Factory
	case c.Starting:
		return Starting
	}
	return Healthy
}
