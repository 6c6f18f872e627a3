// Clients of other systems, over the durable streams: each dialect has its own addresses, bodies and shapes of failure.
import type { HttpApp } from '../../../packages/runtime/http.ts'
import { addEventserver, type EventserverSettings } from './eventserver/eventserver.ts'
import { addMacrometa, type MacrometaSettings } from './macrometa/macrometa.ts'
import { addMemphis, type MemphisSettings } from './memphis/memphis.ts'
import type { DialectPorts } from './port.ts'

export function addDialects(app: HttpApp, ports: DialectPorts, settings: MacrometaSettings & MemphisSettings & EventserverSettings): void {
  addMacrometa(app, ports, settings)
  addMemphis(app, ports, settings)
  addEventserver(app, ports, settings)
}
