import { afterEach, describe, expect, test } from 'vitest';
import { blindCauses, coverageToday } from '../../src/domain/coverage';
import { decodeCoverage } from '../../src/domain/decode';
import { language } from '../../src/i18n';

const ANSWER = {
  cameras: [
    {
      camera: 'gate',
      expected_s: 86_400,
      analysed_s: 86_390,
      blind_s: 10,
      off_s: 0,
      causes: { watcher: 3, camera: 7, unobserved: 0.4 },
    },
  ],
  gaps: [],
};

const GATE = decodeCoverage(ANSWER).get('gate');
if (!GATE) throw new Error('the gate is missing');

describe('the coverage of today', () => {
  afterEach(() => {
    language.value = 'en';
  });

  test('is not complete where seconds are missing', () => {
    language.value = 'en';
    expect(coverageToday(GATE)).toBe('Today 99.9 % analysed · blind for 10 s');
    expect(coverageToday({ ...GATE, analysedS: 86_400, blindS: 0 })).toBe('Today 100 % analysed');
  });

  test('names causes, longest first, without what lasted no second', () => {
    language.value = 'pt-BR';
    expect(blindCauses(GATE)).toBe(
      'Não foi possível ler a câmera: 7 s\nO vídeo não foi analisado: 3 s',
    );
    expect(coverageToday(GATE)).toBe('Hoje 99,9 % analisada · sem visão por 10 s');
  });

  test('shows a cause of a later version as it is', () => {
    expect(blindCauses({ ...GATE, causes: [['fog', 120]] })).toBe('fog: 2 min');
  });
});
