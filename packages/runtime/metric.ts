// What /metrics tells (Prometheus). Counted once per batch, never per event. Each thread has a registry of its own.
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

/** Content type of the text that the registries write. */
export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

export type Metrics = ReturnType<typeof openMetrics>
export type WorkerMetrics = ReturnType<typeof openWorkerMetrics>

/** Of the process and of the roles that devices and programs talk to. */
export function openMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const { counter, gauge } = kinds(registry)
  return {
    registry,
    accepted: counter('events_accepted_total', 'Events on disk in the log'),
    duplicates: counter('events_duplicate_total', 'Redelivered events, recognised and not stored again'),
    rejected: counter('events_rejected_total', 'Refused input, kept in the quarantine'),
    quarantineLost: counter('quarantine_records_lost_total', 'Refused input that was let go of before its time, for there was no room'),
    streamed: counter('stream_frames_total', 'Frames handed to stream subscribers'),
    streams: gauge('streams_open', 'Open streams'),
    connections: gauge('mqtt_connections', 'Connected MQTT clients'),
    mqttCut: counter('mqtt_connections_cut_total', 'MQTT connections that were cut off, by why', ['reason']),
    mqttShed: counter('mqtt_publishes_shed_total', 'Publishes with QoS 0 that could not be taken and were dropped'),
    mqttDropped: counter('mqtt_messages_dropped_total', 'Messages that waited for MQTT clients and were dropped, being too many'),
  }
}

/** Of the worker role. */
export function openWorkerMetrics() {
  const registry = new Registry()
  const { counter, gauge } = kinds(registry)
  return {
    registry,
    consumed: counter('events_consumed_total', 'Events a consumer has committed', ['consumer']),
    poison: counter('events_poison_total', 'Events a consumer could not digest, kept in the quarantine', ['consumer']),
    stored: counter('events_stored_total', 'Events new to the reading store'),
    alarmChanges: counter('alarm_changes_total', 'Changes of alarms', ['kind']),
    deliveries: counter('notification_attempts_total', 'Attempts to deliver notifications', ['outcome']),
    pushes: counter('connector_attempts_total', 'Attempts to push events to data connectors', ['outcome']),
    lagSeconds: gauge('consumer_lag_seconds', 'Age of the oldest entry a consumer has not committed', ['consumer']),
    logBytes: gauge('log_bytes', 'Memory that the logs take in Redis, estimated'),
  }
}

function kinds(registry: Registry) {
  return {
    counter: (name: string, help: string, labelNames: string[] = []) =>
      new Counter({ name: `telltale_${name}`, help, labelNames, registers: [registry] }),
    gauge: (name: string, help: string, labelNames: string[] = []) =>
      new Gauge({ name: `telltale_${name}`, help, labelNames, registers: [registry] }),
  }
}
