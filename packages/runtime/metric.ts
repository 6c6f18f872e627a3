// What /metrics tells (Prometheus). Counted once per batch, never per event.
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof openMetrics>

export function openMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name: `telltale_${name}`, help, labelNames, registers: [registry] })
  const gauge = (name: string, help: string, labelNames: string[] = []) =>
    new Gauge({ name: `telltale_${name}`, help, labelNames, registers: [registry] })
  return {
    registry,
    accepted: counter('events_accepted_total', 'Events on disk in the log'),
    duplicates: counter('events_duplicate_total', 'Redelivered events, recognised and not stored again'),
    rejected: counter('events_rejected_total', 'Refused input, kept in the quarantine'),
    consumed: counter('events_consumed_total', 'Events a consumer has committed', ['consumer']),
    poison: counter('events_poison_total', 'Events a consumer could not digest, kept in the quarantine', ['consumer']),
    stored: counter('events_stored_total', 'Events new to the reading store'),
    alarmChanges: counter('alarm_changes_total', 'Changes of alarms', ['kind']),
    deliveries: counter('notification_attempts_total', 'Attempts to deliver notifications', ['outcome']),
    streamed: counter('stream_frames_total', 'Frames handed to stream subscribers'),
    streams: gauge('streams_open', 'Open streams'),
    lagSeconds: gauge('consumer_lag_seconds', 'Age of the oldest entry a consumer has not committed', ['consumer']),
    connections: gauge('mqtt_connections', 'Connected MQTT clients'),
    logBytes: gauge('log_bytes', 'Memory that the logs take in Redis, estimated'),
  }
}
