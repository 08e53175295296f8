package journal

import (
	"log/slog"
	"time"
)

// BoardStarted records the start of PID 1.
func (j *Journal) BoardStarted(board, serial, version string) {
	j.event(slog.LevelInfo, EventBoardStarted, slog.String("board", board), slog.String("serial", serial), slog.String("version", version))
}

// MachineFault records a fault of a part of the machine.
func (j *Journal) MachineFault(part string, cause error) {
	j.event(slog.LevelError, EventFault, withCause(cause, slog.String("part", part))...)
}

// ProcessStarted records the start of a child process.
func (j *Journal) ProcessStarted(name string, pid int, uptime time.Duration) {
	j.event(slog.LevelInfo, EventProcessStarted, slog.String("name", name), slog.Int("pid", pid), slog.String("uptime", uptime.Round(time.Millisecond).String()))
}

// ProcessEnded records the exit of a child process, its last output, and when
// it is restarted.
func (j *Journal) ProcessEnded(name, text, last string, pause time.Duration) {
	j.event(slog.LevelError, EventProcessEnded, slog.String("name", name), slog.String("how", text),
		slog.String("last", tail(last)), slog.String("again in", pause.String()))
}

// RelayServes records that the relay serves clients.
func (j *Journal) RelayServes(uptime time.Duration) {
	j.event(slog.LevelInfo, EventRelayServes, slog.String("uptime", uptime.Round(time.Millisecond).String()))
}

// tail returns the end of a process's output, at most maxText octets.
func tail(text string) string { return text[max(0, len(text)-maxText):] }

// Unhealthy records a failed health check and what is done about it.
func (j *Journal) Unhealthy(reason error, cure string) {
	j.event(slog.LevelError, EventUnhealthy, slog.String("wrong", reason.Error()), slog.String("cure", cure))
}

// SettingsApplied records that new settings are in force. With a trial above
// zero they are rolled back unless confirmed in that time.
func (j *Journal) SettingsApplied(trial time.Duration) {
	attrs := []slog.Attr{}
	if trial > 0 {
		attrs = append(attrs, slog.String("trial", trial.String()))
	}
	j.event(slog.LevelInfo, EventSettingsApplied, attrs...)
}

// SettingIgnored records a stored setting unknown to this version.
func (j *Journal) SettingIgnored(text string) {
	j.event(slog.LevelWarn, EventSettingIgnored, slog.String("words", text))
}

// SettingsRolledBack records that settings on trial were not confirmed.
func (j *Journal) SettingsRolledBack() { j.event(slog.LevelWarn, EventSettingsRolledBack) }

// Network records the network configuration.
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

// ClockDoubted records why no time source is trusted.
func (j *Journal) ClockDoubted(cause error) {
	j.event(slog.LevelWarn, EventClockNotTrusted, withCause(cause)...)
}

// FactoryReset records a factory reset and who requested it.
func (j *Journal) FactoryReset(by string) {
	j.event(slog.LevelWarn, EventFactoryReset, slog.String("by", by))
}

// Restarting records a restart of the box and who requested it.
func (j *Journal) Restarting(by string) {
	j.event(slog.LevelWarn, EventRestarting, slog.String("by", by))
}

// Stick records the result of a USB stick.
func (j *Journal) Stick(result string) {
	j.event(slog.LevelInfo, EventStick, slog.String("result", result))
}
