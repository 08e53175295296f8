// Package console is the dialogue with a technician on a serial line: one
// question at a time in plain ASCII, which any terminal program shows.
//
// It knows the questions and answers, and in which order a box is set up. It
// must not know how a box carries them out, see [operator.Box], nor the kind of
// line: it handles noise, wrong line endings and a pulled cable on any.
//
// Nothing takes effect before the technician types "apply". Until then the
// session holds what was entered, and discards it when it ends.
package console
