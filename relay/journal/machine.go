package journal

import (
	"log/slog"
	"time"
)

// BoardStarted records that PID 1 runs, and on what.
func (j *Journal) BoardStarted(board, serial, version string) {
	j.event(slog.LevelInfo, EventBoardStarted, slog.String("board", board), slog.String("serial", serial), slog.String("version", version))
}

// MachineFault records a part of the machine that does not do as it should.
func (j *Journal) MachineFault(part string, cause error) {
	j.event(slog.LevelError, EventFault, withCause(cause, slog.String("part", part))...)
}

// ProcessStarted records a child process.
func (j *Journal) ProcessStarted(name string, pid int, uptime time.Duration) {
	j.event(slog.LevelInfo, EventProcessStarted, slog.String("name", name), slog.Int("pid", pid), slog.String("uptime", uptime.Round(time.Millisecond).String()))
}

// ProcessEnded records the end of a child process, the last it said, and when
// it is started again.
func (j *Journal) ProcessEnded(name, words, last string, pause time.Duration) {
	j.event(slog.LevelError, EventProcessEnded, slog.String("name", name), slog.String("how", words),
		slog.String("last", lastOf(last)), slog.String("again in", pause.String()))
}

// RelayServes records that a relay answers its clients, and when.
func (j *Journal) RelayServes(uptime time.Duration) {
	j.event(slog.LevelInfo, EventRelayServes, slog.String("uptime", uptime.Round(time.Millisecond).String()))
}

// lastOf is the end of what a process said, as long as a text may be.
func lastOf(text string) string { return text[max(0, len(text)-clipped):] }

// Unwell records why the box is not of use, and what is done about it.
func (j *Journal) Unwell(wrong error, cure string) {
	j.event(slog.LevelError, EventUnwell, slog.String("wrong", wrong.Error()), slog.String("cure", cure))
}

// SettingsApplied records that new settings are in force; where trial is above
// zero they go back after it unless somebody confirms them.
func (j *Journal) SettingsApplied(trial time.Duration) {
	attrs := []slog.Attr{}
	if trial > 0 {
		attrs = append(attrs, slog.String("trial", trial.String()))
	}
	j.event(slog.LevelInfo, EventSettingsApplied, attrs...)
}

// SettingIgnored records a stored setting that this version does not know, and
// works without.
func (j *Journal) SettingIgnored(words string) {
	j.event(slog.LevelWarn, EventSettingIgnored, slog.String("words", words))
}

// SettingsRolledBack records that settings on trial were not confirmed.
func (j *Journal) SettingsRolledBack() { j.event(slog.LevelWarn, EventSettingsRolledBack) }

// Network records how the box is on the network.
func (j *Journal) Network(method string, addresses []string, trouble string) {
	level := slog.LevelInfo
	if trouble != "" {
		level = slog.LevelWarn
	}
	j.event(level, EventNetwork, slog.String("method", method), slog.Any("addresses", addresses), slog.String("trouble", trouble))
}

// ClockStepped records that the clock was set.
func (j *Journal) ClockStepped(offset time.Duration, from string) {
	j.event(slog.LevelInfo, EventClockSet, slog.String("step", offset.Round(time.Millisecond).String()), slog.String("from", from))
}

// ClockDoubted records why no time that was offered is believed.
func (j *Journal) ClockDoubted(cause error) {
	j.event(slog.LevelWarn, EventClockNotTrusted, withCause(cause)...)
}

// FactoryReset records that everything stored is being erased, and who asked.
func (j *Journal) FactoryReset(by string) {
	j.event(slog.LevelWarn, EventFactoryReset, slog.String("by", by))
}

// Restarting records that the box restarts, and who asked.
func (j *Journal) Restarting(by string) {
	j.event(slog.LevelWarn, EventRestarting, slog.String("by", by))
}

// Stick records what became of a USB stick.
func (j *Journal) Stick(result string) {
	j.event(slog.LevelInfo, EventStick, slog.String("result", result))
}
