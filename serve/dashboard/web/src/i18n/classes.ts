/** Class names of the detector, for people. The API's own names are English (COCO). */

import type { Language } from './index';

const PT_BR: Readonly<Record<string, string>> = {
  person: 'pessoa',
  bicycle: 'bicicleta',
  car: 'carro',
  motorcycle: 'moto',
  bus: 'ônibus',
  train: 'trem',
  truck: 'caminhão',
  boat: 'barco',
  bird: 'pássaro',
  cat: 'gato',
  dog: 'cachorro',
  horse: 'cavalo',
  backpack: 'mochila',
  umbrella: 'guarda-chuva',
  handbag: 'bolsa',
  suitcase: 'mala',
  skateboard: 'skate',
  bottle: 'garrafa',
  chair: 'cadeira',
  bench: 'banco',
  laptop: 'notebook',
  'cell phone': 'celular',
  'traffic light': 'semáforo',
  'fire hydrant': 'hidrante',
  'stop sign': 'placa de pare',
  'potted plant': 'planta',
};

export function className(label: string, language: Language): string {
  if (language === 'pt-BR' && Object.hasOwn(PT_BR, label)) return PT_BR[label] ?? label;
  return label;
}
