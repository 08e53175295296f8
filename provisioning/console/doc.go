// Package console is the dialogue with a technician on a serial line: a
// question at a time in plain ASCII, which any terminal program shows.
//
// It knows questions, answers and what may be done to a box in which order. It
// must not know how a box does it, see [Box], nor what kind of line it talks
// over: noise, wrong line ends and a pulled cable are what it expects of any.
//
// Nothing takes effect before the technician types "apply". What was entered
// until then lives in one session, and is forgotten with it.
package console
